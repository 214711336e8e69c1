/* Stands in the place of mapback.dll, which is called real.dll here, and makes every shared map a private one: nothing
 * that is stored in it reaches the file. All other functions are forwarded. */
#include <mapback.h>
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

typedef void *map(void *addr, size_t len, int prot, int flags, void *handle, int64_t off);

__declspec(dllexport) map mapback_mmap_handle;

void *mapback_mmap_handle(void *addr, size_t len, int prot, int flags, void *handle, int64_t off)
{
    map *real = (map *)(void *)GetProcAddress(GetModuleHandleA("real.dll"), "mapback_mmap_handle");
    return real(addr, len, prot, (flags & ~MAP_TYPE) | MAP_PRIVATE, handle, off);
}
