/* W7: a library that is unloaded leaves everything in the files, and no handler behind. */
#include <stdint.h>
#include <stdio.h>
#include <windows.h>

typedef void *map_function(void *, size_t, int, int, void *, int64_t);

static LONG CALLBACK note(EXCEPTION_POINTERS *info)
{
    if (info->ExceptionRecord->ExceptionCode == EXCEPTION_ACCESS_VIOLATION)
        ExitProcess(0); /* the fault came to us, and no code that is gone was called */
    return EXCEPTION_CONTINUE_SEARCH;
}

int main(void)
{
    DWORD done;
    HANDLE file = CreateFileA("file", GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ, NULL, CREATE_ALWAYS, 0, NULL);
    if (!WriteFile(file, "hello, world", 12, &done, NULL))
        return 2;
    HMODULE library = LoadLibraryA("mapback.dll");
    map_function *mmap_handle = (map_function *)(void *)GetProcAddress(library, "mapback_mmap_handle");
    if (!mmap_handle)
        return 3;
    char *map = mmap_handle(NULL, 12, 3, 1, file, 0);
    if (map == (char *)-1)
        return 4;
    map[0] = 'J';
    CloseHandle(file);
    if (!FreeLibrary(library) || GetModuleHandleA("mapback.dll"))
        return 5;
    file = CreateFileA("file", GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
    char first = 0;
    if (!ReadFile(file, &first, 1, &done, NULL) || first != 'J')
        return 6;
    AddVectoredExceptionHandler(0, note);
    *(volatile char *)16 = 1;
    return 7;
}
