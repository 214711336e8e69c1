/* Counts its own runs in a file, which it maps: cc counter.c $(pkg-config --cflags --libs mapback) -o counter
 *
 * The file may be anywhere, also where the kernel refuses shared maps.
 */
#include <fcntl.h>
#include <mapback.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FILE\n", argv[0]);
        return 2;
    }
    int fd = open(argv[1], O_RDWR | O_CREAT, 0666);
    if (fd < 0 || ftruncate(fd, sizeof(uint64_t)) != 0) {
        perror(argv[1]);
        return 1;
    }
    uint64_t *count = mapback_mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (count == MAP_FAILED) {
        fprintf(stderr, "cannot map %s: %s\n", argv[1], mapback_error_text());
        return 1;
    }
    *count += 1;
    if (mapback_msync(count, sizeof *count, MS_SYNC) != 0) {
        fprintf(stderr, "cannot write %s: %s\n", argv[1], mapback_error_text());
        return 1;
    }
    printf("run %llu\n", (unsigned long long)*count);
    return mapback_munmap(count, sizeof *count) == 0 ? 0 : 1;
}
