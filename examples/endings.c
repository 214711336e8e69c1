/* Stores into a map and ends, in the way that is named; what it stored is in the file all the same. */
#include <fcntl.h>
#include <mapback.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char *late;

__attribute__((destructor)) static void store_late(void)
{
    if (late)
        late[0] = 'J';
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    int fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0666);
    if (fd < 0 || write(fd, "hello", 5) != 5)
        return 1;
    char *map = mapback_mmap(NULL, 5, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return 1;
    if (strcmp(argv[2], "fork") == 0) {
        pid_t child = fork();
        if (child == 0) {
            map[0] = 'J';
            exit(0);
        }
        int status;
        return waitpid(child, &status, 0) == child && status == 0 ? 0 : 1;
    }
    if (strcmp(argv[2], "destructor") == 0) {
        late = map;
        return 0;
    }
    map[0] = 'J';
    if (strcmp(argv[2], "exit") == 0)
        exit(0);
    return 0;
}
