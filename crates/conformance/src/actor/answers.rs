//! What calls return, and the answer that is made of it.

use super::Answer;
use crate::calls::Errno;

/// What C calls return: -1 and errno, or a number.
pub(super) fn done(ret: i32) -> Result<i32, Errno> {
    if ret == -1 { Err(Errno::last()) } else { Ok(ret) }
}

/// A call's result as an answer.
pub(super) fn number<T: TryInto<i64>>(result: Result<T, Errno>) -> Answer {
    match result {
        Ok(value) => Answer::Number(value.try_into().unwrap_or(i64::MAX)),
        Err(Errno(error)) => Answer::Errno(error),
    }
}
