/* <sys/mman.h> for Windows, by mapback. Link with -lmapback.
 *
 * Descriptors and errno are those of the program's own C run-time library, whichever it is.
 */
#ifndef MAPBACK_SYS_MMAN_H
#define MAPBACK_SYS_MMAN_H

#ifndef _WIN32
#error "mapback brings <sys/mman.h> for Windows only; elsewhere include <mapback.h>"
#endif

#include <sys/types.h>
#include <mapback.h>

#ifdef __cplusplus
extern "C" {
#endif

/* off is 64 bits whatever off_t is. */
static __inline void *mmap(void *addr, size_t len, int prot, int flags, int fd, int64_t off)
{
    return mapback_mmap(addr, len, prot, flags, fd, off);
}

static __inline int mapback_told(int status)
{
    if (status != 0)
        errno = mapback_errno();
    return status;
}

static __inline int munmap(void *addr, size_t len)
{
    return mapback_told(mapback_munmap(addr, len));
}

static __inline int msync(void *addr, size_t len, int flags)
{
    return mapback_told(mapback_msync(addr, len, flags));
}

static __inline int mprotect(void *addr, size_t len, int prot)
{
    return mapback_told(mapback_mprotect(addr, len, prot));
}

static __inline int mlock(const void *addr, size_t len)
{
    return mapback_told(mapback_mlock(addr, len));
}

static __inline int munlock(const void *addr, size_t len)
{
    return mapback_told(mapback_munlock(addr, len));
}

#define POSIX_MADV_NORMAL 0
#define POSIX_MADV_RANDOM 1
#define POSIX_MADV_SEQUENTIAL 2
#define POSIX_MADV_WILLNEED 3
#define POSIX_MADV_DONTNEED 4

/* Returns the error, as POSIX has it. Advice changes nothing here: whole files are in memory. */
static __inline int posix_madvise(void *addr, size_t len, int advice)
{
    (void)len;
    return advice < POSIX_MADV_NORMAL || advice > POSIX_MADV_DONTNEED || (uintptr_t)addr % 4096 ? EINVAL : 0;
}

/* 4096: file offsets and MAP_FIXED addresses of private maps are multiples of it. */
int getpagesize(void);

#ifdef __cplusplus
}
#endif
#endif
