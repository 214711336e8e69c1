//! Named objects that this user alone may open.

use super::errno::Errno;
use core::ffi::c_void;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use windows_sys::Win32::Foundation::{HANDLE, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, GetSecurityInfo,
    SDDL_REVISION_1, SE_KERNEL_OBJECT,
};
use windows_sys::Win32::Security::{
    EqualSid, GetTokenInformation, OWNER_SECURITY_INFORMATION, PSID, SECURITY_ATTRIBUTES, TOKEN_QUERY,
    TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

/// The user of this process.
pub(crate) struct User {
    /// A `TOKEN_USER` and what it points to, aligned for it.
    token: Vec<u64>,
}

impl User {
    /// Asks the process's token.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn current() -> Result<User, Errno> {
        let mut token: HANDLE = core::ptr::null_mut();
        // SAFETY: the out-pointer is to a live handle.
        if unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &raw mut token) } == 0 {
            return Err(Errno::last());
        }
        // SAFETY: just opened, owned by nobody else.
        let token = unsafe { OwnedHandle::from_raw_handle(token) };
        let mut user = User { token: vec![0; 64] };
        let mut len = 0;
        let room = (user.token.len() * 8) as u32;
        let to = user.token.as_mut_ptr().cast();
        // SAFETY: `to` has the room that is said. A SID has 68 bytes at the most, so it fits.
        if unsafe { GetTokenInformation(token.as_raw_handle(), TokenUser, to, room, &raw mut len) } == 0 {
            return Err(Errno::last());
        }
        Ok(user)
    }

    fn sid(&self) -> PSID {
        // SAFETY: filled by GetTokenInformation, aligned for pointers.
        unsafe { (*self.token.as_ptr().cast::<TOKEN_USER>()).User.Sid }
    }

    fn text(&self) -> Result<String, Errno> {
        let mut text: *mut u16 = core::ptr::null_mut();
        // SAFETY: a valid SID, and an out-pointer.
        if unsafe { ConvertSidToStringSidW(self.sid(), &raw mut text) } == 0 {
            return Err(Errno::last());
        }
        // SAFETY: a string that ends in zero, which is freed once, below.
        let sid = unsafe {
            let len = (0..).take_while(|n| *text.add(*n) != 0).count();
            String::from_utf16_lossy(core::slice::from_raw_parts(text, len))
        };
        // SAFETY: allocated by the call above.
        unsafe { LocalFree(text.cast()) };
        Ok(sid)
    }

    /// Whether this user owns a kernel object: nobody else could have laid it out in wait for us.
    pub(crate) fn owns(&self, object: &OwnedHandle) -> bool {
        let mut owner: PSID = core::ptr::null_mut();
        let mut descriptor: *mut c_void = core::ptr::null_mut();
        let none = core::ptr::null_mut();
        // SAFETY: out-pointers to live words; those that are not wanted may be null.
        let failed = unsafe {
            GetSecurityInfo(
                object.as_raw_handle(),
                SE_KERNEL_OBJECT,
                OWNER_SECURITY_INFORMATION,
                &raw mut owner,
                none,
                none.cast(),
                none.cast(),
                &raw mut descriptor,
            )
        };
        if failed != 0 {
            return false;
        }
        // SAFETY: the owner points into the descriptor, which is freed only afterwards, once.
        unsafe {
            let same = EqualSid(owner, self.sid()) != 0;
            LocalFree(descriptor);
            same
        }
    }
}

/// Attributes that give this user all access, and nobody else any.
pub(crate) struct Attributes {
    raw: SECURITY_ATTRIBUTES,
}

impl Attributes {
    /// For `user`.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn only(user: &User) -> Result<Attributes, Errno> {
        let sid = user.text()?;
        let text: Vec<u16> = format!("O:{sid}D:P(A;;GA;;;{sid})").encode_utf16().chain([0]).collect();
        let mut descriptor: *mut c_void = core::ptr::null_mut();
        // SAFETY: the text ends in zero; an out-pointer to a live word.
        let made = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &raw mut descriptor,
                core::ptr::null_mut(),
            )
        };
        if made == 0 {
            return Err(Errno::last());
        }
        let len = size_of::<SECURITY_ATTRIBUTES>() as u32;
        let raw = SECURITY_ATTRIBUTES { nLength: len, lpSecurityDescriptor: descriptor, bInheritHandle: 0 };
        Ok(Attributes { raw })
    }

    /// As the calls want them.
    pub(crate) fn as_ptr(&self) -> *const SECURITY_ATTRIBUTES {
        &raw const self.raw
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: allocated by the call that made it, freed once.
        unsafe { LocalFree(self.raw.lpSecurityDescriptor) };
    }
}
