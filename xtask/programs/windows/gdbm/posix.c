/* What posix.h declares; and around main, the mode of the standard streams and the counts of mapback (in the file that
 * MAPPED names), which GDBM knows nothing of. */
#include "posix.h"
#undef open
#undef mkstemp
#undef rename
#undef stat
#undef fstat
#undef execl

#include <errno.h>
#include <process.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

static void report(void)
{
    const char *name = getenv("MAPPED");
    struct mapback_stats stats;
    if (!name || mapback_stats(&stats, sizeof stats) != 0 || stats.maps == 0)
        return;
    int fd = posix_open(name, O_WRONLY | O_CREAT, 0600);
    if (fd < 0)
        return;
    char line[96];
    int len = snprintf(line, sizeof line, "%llu %llu %llu\n", (unsigned long long)stats.maps,
                       (unsigned long long)stats.bytes_loaded, (unsigned long long)stats.bytes_written);
    /* Other processes end at the same time. */
    if (flock(fd, LOCK_EX) == 0 && _lseeki64(fd, 0, SEEK_END) >= 0)
        _write(fd, line, (unsigned)len);
    _close(fd);
}

int __real_main(int argc, char **argv);

/* The linker puts this before main (--wrap). */
int __wrap_main(int argc, char **argv)
{
    /* Bytes are bytes, in files and in pipes. */
    _fmode = _O_BINARY;
    for (int fd = 0; fd < 3; fd++)
        _setmode(fd, _O_BINARY);
    /* Registered before mapback's own, so run after it. */
    atexit(report);
    /* The program's name, as it is in messages. */
    for (char *at = argv[0]; *at; at++)
        if (*at == '\\')
            *at = '/';
    size_t len = strlen(argv[0]);
    if (len > 4 && _stricmp(argv[0] + len - 4, ".exe") == 0)
        argv[0][len - 4] = '\0';
    return __real_main(argc, argv);
}

static int failed(void)
{
    switch (GetLastError()) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
        errno = ENOENT;
        break;
    case ERROR_FILE_EXISTS:
    case ERROR_ALREADY_EXISTS:
        errno = EEXIST;
        break;
    case ERROR_LOCK_VIOLATION:
        errno = EWOULDBLOCK;
        break;
    case ERROR_INVALID_HANDLE:
        errno = EBADF;
        break;
    default:
        errno = EACCES;
    }
    return -1;
}

int posix_open(const char *name, int flags, ...)
{
    int mode = _S_IWRITE;
    if (flags & O_CREAT) {
        va_list more;
        va_start(more, flags);
        mode = va_arg(more, int);
        va_end(more);
    }
    DWORD access = GENERIC_READ;
    if (flags & O_RDWR)
        access |= GENERIC_WRITE;
    else if (flags & O_WRONLY)
        access = GENERIC_WRITE;
    DWORD how = flags & O_TRUNC ? TRUNCATE_EXISTING : OPEN_EXISTING;
    if (flags & O_CREAT)
        how = flags & O_EXCL ? CREATE_NEW : flags & O_TRUNC ? CREATE_ALWAYS : OPEN_ALWAYS;
    SECURITY_ATTRIBUTES inherited = {sizeof inherited, NULL, !(flags & O_CLOEXEC)};
    HANDLE file = CreateFileA(name, access, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, &inherited, how,
                              mode & _S_IWRITE ? FILE_ATTRIBUTE_NORMAL : FILE_ATTRIBUTE_READONLY, NULL);
    if (file == INVALID_HANDLE_VALUE)
        return failed();
    return _open_osfhandle((intptr_t)file, _O_BINARY | (flags & (_O_APPEND | _O_NOINHERIT)));
}

int posix_mkstemp(char *name)
{
    char *random = name + strlen(name) - strlen("XXXXXX");
    for (unsigned n = 0; n < 1000; n++) {
        snprintf(random, sizeof "XXXXXX", "%06u", (unsigned)(GetCurrentProcessId() * 1000 + n) % 1000000);
        int fd = posix_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

/* A file that is open cannot be replaced, but it can be renamed, and removed by the new name. */
int posix_rename(const char *from, const char *to)
{
    char aside[MAX_PATH];
    if (MoveFileExA(from, to, MOVEFILE_REPLACE_EXISTING))
        return 0;
    if (GetLastError() != ERROR_ACCESS_DENIED || snprintf(aside, sizeof aside, "%s.aside", to) >= MAX_PATH)
        return failed();
    if (!MoveFileExA(to, aside, 0) || !MoveFileExA(from, to, 0))
        return failed();
    return DeleteFileA(aside) ? 0 : failed();
}

static int identify(HANDLE file, const struct _stat64 *known, struct stat *out)
{
    BY_HANDLE_FILE_INFORMATION info;
    if (!GetFileInformationByHandle(file, &info))
        return failed();
    *out = (struct stat){
        .st_dev = info.dwVolumeSerialNumber,
        .st_ino = (_ino_t)info.nFileIndexLow,
        .st_mode = known->st_mode,
        .st_nlink = (short)info.nNumberOfLinks,
        .st_size = known->st_size,
        .st_atime = known->st_atime,
        .st_mtime = known->st_mtime,
        .st_ctime = known->st_ctime,
    };
    return 0;
}

int posix_fstat(int fd, struct stat *out)
{
    struct _stat64 known;
    return _fstat64(fd, &known) == 0 ? identify((HANDLE)_get_osfhandle(fd), &known, out) : -1;
}

int posix_stat(const char *name, struct stat *out)
{
    struct _stat64 known;
    if (_stat64(name, &known) != 0)
        return -1;
    HANDLE file = CreateFileA(name, FILE_READ_ATTRIBUTES, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                              OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (file == INVALID_HANDLE_VALUE)
        return failed();
    int status = identify(file, &known, out);
    CloseHandle(file);
    return status;
}

int fsync(int fd)
{
    return _commit(fd);
}

/* Locks on Windows keep others from the bytes: so one is locked that no file has. */
int flock(int fd, int operation)
{
    HANDLE file = (HANDLE)_get_osfhandle(fd);
    OVERLAPPED where = {.OffsetHigh = 0x40000000};
    if (operation & LOCK_UN)
        return UnlockFileEx(file, 0, 1, 0, &where) ? 0 : failed();
    DWORD how = operation & LOCK_EX ? LOCKFILE_EXCLUSIVE_LOCK : 0;
    if (operation & LOCK_NB)
        how |= LOCKFILE_FAIL_IMMEDIATELY;
    return LockFileEx(file, how, 0, 1, 0, &where) ? 0 : failed();
}

struct passwd *getpwuid(uid_t uid)
{
    static struct passwd user;
    user.pw_uid = uid;
    user.pw_name = getenv("USERNAME");
    user.pw_dir = getenv("USERPROFILE");
    return user.pw_name && user.pw_dir ? &user : NULL;
}

long sysconf(int name)
{
    if (name == _SC_PAGESIZE)
        return getpagesize();
    errno = EINVAL;
    return -1;
}

/* The next program cannot take this one's place: it is waited for. By its full name, which scripts that start programs
 * for Windows elsewhere do not have. */
int posix_execl(const char *path, const char *arg, ...)
{
    char program[MAX_PATH];
    if (snprintf(program, sizeof program, "%s.exe", path) >= (int)sizeof program) {
        errno = ENAMETOOLONG;
        return -1;
    }
    const char *args[8] = {arg};
    va_list more;
    va_start(more, arg);
    for (int n = 1; n < 7 && args[n - 1]; n++)
        args[n] = va_arg(more, const char *);
    va_end(more);
    intptr_t status = _spawnv(_P_WAIT, program, args);
    if (status == -1)
        return -1;
    _exit((int)status);
}
