/* W7: stores are in the file after each way in which a process ends of its own accord, whatever its other
 * threads are at. */
#include <fcntl.h>
#include <io.h>
#include <process.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <windows.h>

static unsigned __stdcall busy(void *map)
{
    while (msync(map, 12, MS_ASYNC) == 0)
        continue;
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 1;
    int fd = open("file", O_RDWR | O_CREAT | O_TRUNC | O_BINARY, 0600);
    if (write(fd, "hello, world", 12) != 12)
        return 2;
    /* By HANDLE, so that nothing but the library itself sees to the end. */
    char *map = mapback_mmap_handle(NULL, 12, PROT_READ | PROT_WRITE, MAP_SHARED, (void *)_get_osfhandle(fd), 0);
    if (map == MAP_FAILED)
        return 3;
    close(fd);
    map[0] = 'J';
    for (int i = 0; i < 2; i++)
        if (!_beginthreadex(NULL, 0, busy, map, 0, NULL))
            return 5;
    Sleep(20);
    if (strcmp(argv[1], "exit") == 0)
        exit(0);
    if (strcmp(argv[1], "_exit") == 0)
        _exit(0);
    return 0;
}
