/* A program that is linked as MSVC's linker does it, with mapback.dll.lib: by handles, without a C run-time library. */
#include <windows.h>
#include <mapback.h>

#define CHECK(what) \
    do { \
        if (!(what)) \
            return __LINE__; \
    } while (0)

static int look(void)
{
    DWORD done = 0;
    char found[5] = "";
    HANDLE file = CreateFileA("file", GENERIC_READ | GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    CHECK(file != INVALID_HANDLE_VALUE);
    CHECK(WriteFile(file, "hello", 5, &done, NULL) && done == 5);
    char *map =
        mapback_mmap_handle(NULL, 5, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(map != MAP_FAILED && map[0] == 'h' && map[4] == 'o' && map[5] == 0);
    map[0] = 'j';
    CHECK(mapback_msync(map, 5, MS_SYNC) == 0);
    CHECK(SetFilePointer(file, 0, NULL, FILE_BEGIN) == 0);
    CHECK(ReadFile(file, found, 5, &done, NULL) && done == 5 && found[0] == 'j' && found[4] == 'o');
    CHECK(mapback_munmap(map, 5) == 0);
    CHECK(mapback_munmap(map + 1, 5) == -1 && mapback_errno() == EINVAL);
    return 0;
}

void start(void)
{
    ExitProcess(look());
}
