/* mapback: mmap for real files, done in user space.
 *
 * Each function has the contract of its namesake without the prefix. It returns -1 (mapback_mmap: MAP_FAILED,
 * which is (void *)-1) when it fails, and says why in errno and in mapback_error_text().
 */
#ifndef MAPBACK_H
#define MAPBACK_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#ifdef _WIN32
#include <io.h>
#include <stdlib.h>
#else
#include <sys/mman.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

#ifdef _WIN32
/* PROT_*, MAP_* and MS_* have the values that they have on Linux. */
#ifndef PROT_NONE
#define PROT_NONE 0
#define PROT_READ 1
#define PROT_WRITE 2
#define PROT_EXEC 4
#endif
#ifndef MAP_SHARED
#define MAP_SHARED 0x01
#define MAP_PRIVATE 0x02
#define MAP_SHARED_VALIDATE 0x03
#define MAP_TYPE 0x0f
#define MAP_FIXED 0x10
#define MAP_ANONYMOUS 0x20
#define MAP_ANON MAP_ANONYMOUS
#define MAP_FILE 0
/* LOCKED, NORESERVE, POPULATE, NONBLOCK and STACK are hints, which change nothing here. */
#define MAP_LOCKED 0x2000
#define MAP_NORESERVE 0x4000
#define MAP_POPULATE 0x8000
#define MAP_NONBLOCK 0x10000
#define MAP_STACK 0x20000
#define MAP_FIXED_NOREPLACE 0x100000
#define MAP_FAILED ((void *)-1)
#endif
#ifndef MS_SYNC
#define MS_ASYNC 1
#define MS_INVALIDATE 2
#define MS_SYNC 4
#endif

/* mmap of the file behind a HANDLE. The handle may be closed at once. Sets mapback_errno() only. */
void *mapback_mmap_handle(void *addr, size_t len, int prot, int flags, void *handle, int64_t off);
int mapback_mlock(const void *addr, size_t len);
int mapback_munlock(const void *addr, size_t len);

/* Before the system stores into a map by itself (ReadFile, recv, ...): with the tracker "fault" it would get an error
 * for a page that is armed (ERROR_NOACCESS). mapback_release ends it, for the same range. Always 0. */
int mapback_prepare(const void *addr, size_t len);
int mapback_release(const void *addr, size_t len);

/* True at the first call in this process. */
int mapback_first_use(void);
#else
void *mapback_mmap(void *addr, size_t len, int prot, int flags, int fd, int64_t off);
#endif

int mapback_munmap(void *addr, size_t len);
int mapback_msync(void *addr, size_t len, int flags);
int mapback_mprotect(void *addr, size_t len, int prot);

/* Writes all changes of all maps back, without waiting for the storage. Done at exit without being asked. */
void mapback_flush(void);

/* Chooses how changes are found, before anything is mapped: "fault", "compare", "whole", and "wp-async" (Linux) or
 * "write-watch" (Windows: shared maps are then this process's alone). EINVAL: there is no such tracker; EBUSY: too
 * late. Without, MAPBACK_TRACKER in the environment decides, or else the best that works. */
int mapback_set_tracker(const char *name);

/* The number and the text of this thread's last error. The text is valid until this thread asks for another. */
int mapback_errno(void);
const char *mapback_error_text(void);

/* The version of the library, like "0.1.0". */
const char *mapback_version(void);

/* What was done for all files since the process began. */
struct mapback_stats {
    uint64_t files;         /* mapped shared */
    uint64_t maps;          /* of them */
    uint64_t bytes_loaded;  /* read from them */
    uint64_t pages_changed; /* each time that one was found changed */
    uint64_t runs;          /* of changed pages or bytes, written */
    uint64_t bytes_written; /* to them */
};

/* Fills in as much of the structure as `size` bytes hold. */
int mapback_stats(struct mapback_stats *out, size_t size);

#ifdef _WIN32
/* mmap of the file behind a descriptor of the program's own C run-time library. */
static __inline void *mapback_mmap(void *addr, size_t len, int prot, int flags, int fd, int64_t off)
{
    void *handle = fd < 0 ? (void *)-1 : (void *)_get_osfhandle(fd);
    void *mapped = mapback_mmap_handle(addr, len, prot, flags, handle, off);
    if (mapped == (void *)-1)
        errno = mapback_errno();
    /* The program's own exit comes before that of the DLL, when other threads are gone. */
    if (mapback_first_use())
        atexit(mapback_flush);
    return mapped;
}
#endif

#ifdef __cplusplus
}
#endif
#endif
