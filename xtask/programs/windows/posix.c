/* <sys/mman.h> as a program that knows only POSIX uses it: errno, constants, kernel-mode access (W1, W8, W9). */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <windows.h>

#define CHECK(what) \
    do { \
        if (!(what)) { \
            fprintf(stderr, "line %d: %s; errno %d, %s\n", __LINE__, #what, errno, mapback_error_text()); \
            return 1; \
        } \
    } while (0)

static int fails(void *map, int expected)
{
    return map == MAP_FAILED && errno == expected;
}

static int kernel_access(void)
{
    size_t len = 3 * 4096;
    int fd = open("other", O_RDWR | O_CREAT | O_TRUNC | O_BINARY, 0600);
    char bytes[3 * 4096];
    memset(bytes, 'a', len);
    CHECK(write(fd, bytes, len) == (int)len);
    char *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(map != MAP_FAILED);
    HANDLE pipe[2];
    CHECK(CreatePipe(&pipe[0], &pipe[1], NULL, 65536));
    memset(bytes, 'b', len);
    DWORD done = 0;
    for (int round = 0; round < 3; round++) {
        CHECK(msync(map, len, MS_SYNC) == 0); /* arms every page */
        CHECK(WriteFile(pipe[1], bytes, 5000, &done, NULL) && done == 5000);
        CHECK(mapback_prepare(map + 100, 5000) == 0);
        CHECK(ReadFile(pipe[0], map + 100, 5000, &done, NULL) && done == 5000);
        CHECK(mapback_release(map + 100, 5000) == 0);
        CHECK(msync(map, len, MS_SYNC) == 0);
        CHECK(_lseek(fd, 100, SEEK_SET) == 100);
        char found[5000];
        CHECK(read(fd, found, 5000) == 5000 && memcmp(found, bytes, 5000) == 0);
        memset(bytes, 'c' + round, len);
    }
    CHECK(munmap(map, len) == 0);
    close(fd);
    return 0;
}

int main(void)
{
    int fd = open("file", O_RDWR | O_CREAT | O_TRUNC | O_BINARY, 0600);
    CHECK(write(fd, "hello, world", 12) == 12);
    CHECK(getpagesize() == 4096);
    CHECK(fails(mmap(NULL, 0, PROT_READ, MAP_SHARED, fd, 0), EINVAL));
    CHECK(fails(mmap(NULL, 1, PROT_READ, MAP_SHARED, 99, 0), EBADF));
    CHECK(fails(mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 1), EINVAL));
    CHECK(strcmp(mapback_error_text(), "invalid argument (EINVAL)") == 0);
    int reader = open("file", O_RDONLY | O_BINARY);
    CHECK(fails(mmap(NULL, 1, PROT_WRITE, MAP_SHARED, reader, 0), EACCES));
    CHECK(munmap((void *)4096, 0) == -1 && errno == EINVAL);
    CHECK(msync((void *)4096, 4096, MS_SYNC) == -1 && errno == ENOMEM);
    CHECK(mapback_set_tracker("whole") == -1 && mapback_errno() == EBUSY);
    char *map = mmap(NULL, 12, PROT_READ | PROT_WRITE, MAP_FILE | MAP_SHARED | MAP_LOCKED | MAP_NONBLOCK, fd, 0);
    CHECK(map != MAP_FAILED);
    CHECK(posix_madvise(map, 12, POSIX_MADV_WILLNEED) == 0 && posix_madvise(map, 12, POSIX_MADV_DONTNEED) == 0);
    CHECK(posix_madvise(map + 1, 12, POSIX_MADV_RANDOM) == EINVAL && posix_madvise(map, 12, 99) == EINVAL);
    for (int i = 0; i < 12; i++)
        map[i] = (char)toupper(map[i]);
    CHECK(msync(map, 12, MS_SYNC) == 0);
    struct mapback_stats stats;
    CHECK(mapback_stats(&stats, sizeof stats) == 0);
    CHECK(stats.files == 1 && stats.maps == 1 && stats.bytes_written >= 10);
    CHECK(mlock(map, 12) == 0 && msync(map, 12, MS_INVALIDATE) == -1 && errno == EBUSY && munlock(map, 12) == 0);
    CHECK(munmap(map, 12) == 0);
    return kernel_access();
}
