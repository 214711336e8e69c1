/* Every function of mapback.h, from C. */
#define _XOPEN_SOURCE 700
#include <mapback.h>

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

_Static_assert(sizeof(struct mapback_stats) == 48, "six numbers of 64 bits");

#define CHECK(what) \
    do { \
        if (!(what)) { \
            fprintf(stderr, "line %d: %s: %s\n", __LINE__, #what, mapback_error_text()); \
            return 1; \
        } \
    } while (0)

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    CHECK(strlen(mapback_version()) >= 5);
    CHECK(mapback_set_tracker("no such tracker") == -1 && errno == EINVAL && mapback_errno() == EINVAL);
    CHECK(strlen(mapback_error_text()) > 0);
    CHECK(mapback_set_tracker("compare") == 0);
    int fd = open(argv[1], O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(fd >= 0 && write(fd, "hello, C", 8) == 8);
    char *map = mapback_mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(map != MAP_FAILED);
    CHECK(close(fd) == 0);
    CHECK(mapback_set_tracker("whole") == -1 && errno == EBUSY);
    memcpy(map, "HELLO", 5);
    CHECK(mapback_msync(map, 8, MS_SYNC) == 0);
    CHECK(mapback_mprotect(map, 8, PROT_READ) == 0);
    struct mapback_stats stats = {0};
    CHECK(mapback_stats(&stats, sizeof stats) == 0);
    CHECK(stats.files == 1 && stats.maps == 1 && stats.bytes_written == 5);
    mapback_flush();
    CHECK(mapback_munmap(map, 8) == 0);
    CHECK(mapback_munmap(map, 0) == -1 && errno == EINVAL);
    return 0;
}
