//! Writes fail on demand, and heal.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use mapback_testkit::DirectIoMount;
use mapback_testkit::passthrough::WriteFault;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

#[test]
fn fail_after_a_number_of_bytes_until_healed() {
    let source = tempfile::tempdir().unwrap();
    let mount = DirectIoMount::new(source.path()).unwrap();
    let mut file = File::create(mount.path().join("file")).unwrap();
    file.write_all(b"before").unwrap();

    mount.fail_writes(WriteFault { errno: Errno::NOSPC, after: 4 }).unwrap();
    assert_eq!(file.write(b"0123456789").unwrap(), 4);
    let errno = |result: std::io::Result<usize>| result.unwrap_err().raw_os_error();
    assert_eq!(errno(file.write(b"4")), Some(libc::ENOSPC));
    assert_eq!(rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 4096), Err(Errno::NOSPC));
    assert_eq!(file.metadata().unwrap().len(), 10);
    // Reading, truncating and syncing still work, as on a full disk.
    file.set_len(8).unwrap();
    file.sync_all().unwrap();

    mount.fail_writes("EIO".parse().unwrap()).unwrap();
    assert_eq!(errno(file.write_at(b"x", 0)), Some(libc::EIO));
    mount.heal_writes().unwrap();
    file.write_all_at(b"healed", 2).unwrap();
    assert_eq!(std::fs::read(source.path().join("file")).unwrap(), b"behealed");

    let totals = mount.totals().unwrap();
    assert_eq!((totals.writes, totals.bytes, totals.failed), (3, 6 + 4 + 6, 3));
}
