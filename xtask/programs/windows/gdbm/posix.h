/* What GDBM and its tests take from POSIX and mingw lacks, apart from mmap. Included before everything else, and in the
 * place of headers that mingw does not have. */
#ifndef GDBM_POSIX_H
#define GDBM_POSIX_H

#include <fcntl.h>
#include <io.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

/* Files: shared for everything, so that an open one can be renamed and removed. */
#define O_CLOEXEC _O_NOINHERIT
typedef long blksize_t;
int posix_open(const char *name, int flags, ...);
int posix_mkstemp(char *name);
int posix_rename(const char *from, const char *to);
#define open posix_open
#define mkstemp posix_mkstemp
#define rename posix_rename
/* With the number of names, the file's and the device's. (mingw's <sys/stat.h> renames both.) */
#undef stat
#undef fstat
int posix_stat(const char *name, struct stat *out);
int posix_fstat(int fd, struct stat *out);
#define stat(name, out) posix_stat(name, out)
#define fstat(fd, out) posix_fstat(fd, out)
int fsync(int fd);
#define LOCK_SH 1
#define LOCK_EX 2
#define LOCK_NB 4
#define LOCK_UN 8
int flock(int fd, int operation);

/* Owners and permissions: stubs, for one user who owns all. */
#define S_ISUID 04000
#define S_ISGID 02000
#define S_ISVTX 01000
typedef int uid_t;
typedef int gid_t;
struct passwd { char *pw_name, *pw_dir; uid_t pw_uid; gid_t pw_gid; };
struct group { char *gr_name; gid_t gr_gid; };
#define getuid() 0
struct passwd *getpwuid(uid_t uid);
#define getpwnam(name) ((void)(name), (struct passwd *)NULL)
#define getgrgid(gid) ((void)(gid), (struct group *)NULL)
#define getgrnam(name) ((void)(name), (struct group *)NULL)
#define fchown(fd, uid, gid) ((void)(fd), (void)(uid), (void)(gid), 0)
#define fchmod(fd, mode) ((void)(fd), (void)(mode), 0)

/* Processes. */
#define _SC_PAGESIZE 30
long sysconf(int name);
int posix_execl(const char *path, const char *arg, ...);
#define execl posix_execl

/* What gdbmtool's interactive parts use: stubs. */
#define TIOCGWINSZ 0
struct winsize { unsigned short ws_row, ws_col; };
#define ioctl(fd, request, argument) ((void)(fd), (void)(argument), -1)
#define fork() (errno = ENOSYS, (pid_t)-1)
#define waitpid(pid, status, options) ((void)(status), errno = ENOSYS, (pid_t)-1)
#define WIFEXITED(status) 1
#define WEXITSTATUS(status) (status)
#define WIFSIGNALED(status) 0
#define WTERMSIG(status) 0
#define SIGPIPE 13
struct sigaction { void (*sa_handler)(int); int sa_mask, sa_flags; };
#define sigemptyset(set) ((void)(set))
#define sigaction(signal, act, old) ((void)(act), (void)(old), 0)
#define RUSAGE_SELF 0
struct rusage { struct timeval ru_utime, ru_stime; };
#define getrusage(who, usage) (*(usage) = (struct rusage){{0, 0}, {0, 0}}, 0)

/* Numbers. */
#define random() rand()
#define srandom(seed) srand(seed)
#define htonl(n) __builtin_bswap32(n)
#define ntohl(n) __builtin_bswap32(n)

#endif
