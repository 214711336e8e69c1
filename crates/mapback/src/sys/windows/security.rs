//! Named objects that this user alone may open, and whose a file is.

use super::errno::Errno;
use core::ffi::c_void;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use windows_sys::Win32::Foundation::{HANDLE, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, GetSecurityInfo,
    SDDL_REVISION_1, SE_FILE_OBJECT, SE_KERNEL_OBJECT,
};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, EqualSid, GetSecurityDescriptorLength, GetSecurityDescriptorOwner,
    GetTokenInformation, IsWellKnownSid, OBJECT_SECURITY_INFORMATION, OWNER_SECURITY_INFORMATION, PSID,
    SECURITY_ATTRIBUTES, TOKEN_QUERY, TOKEN_USER, TokenUser, WinBuiltinAdministratorsSid, WinLocalSystemSid,
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
        Attributes::of_text(&format!("O:{sid}D:P(A;;GA;;;{sid})"))
    }

    /// What a text in Microsoft's language for descriptors (SDDL) says.
    fn of_text(text: &str) -> Result<Attributes, Errno> {
        let text: Vec<u16> = text.encode_utf16().chain([0]).collect();
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

/// Who owns a file, and who may do what with it.
#[derive(Debug)]
pub(crate) struct Descriptor {
    /// Self-relative security descriptors, aligned for their parts: one with the owner, one with the access list.
    owner: Vec<u64>,
    access: Vec<u64>,
}

impl Descriptor {
    /// That of an open file.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn of_file(file: BorrowedHandle<'_>) -> Result<Descriptor, Errno> {
        let owner = information(file, OWNER_SECURITY_INFORMATION)?;
        Ok(Descriptor { owner, access: information(file, DACL_SECURITY_INFORMATION)? })
    }

    /// One that `user` owns, and nobody else may use.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn only(user: &User) -> Result<Descriptor, Errno> {
        Ok(Descriptor::of(&Attributes::only(user)?))
    }

    /// What a text says, see [`Attributes::of_text`].
    #[cfg(test)]
    pub(super) fn of_text(text: &str) -> Result<Descriptor, Errno> {
        Ok(Descriptor::of(&Attributes::of_text(text)?))
    }

    fn of(attributes: &Attributes) -> Descriptor {
        // SAFETY: a valid descriptor, self-relative, which lives as long as `attributes`.
        let copy = unsafe { copied(attributes.raw.lpSecurityDescriptor) };
        Descriptor { owner: copy.clone(), access: copy }
    }

    /// Attributes for a file that shall have this access list. They are good as long as the descriptor lives.
    pub(crate) fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
            lpSecurityDescriptor: self.access.as_ptr().cast_mut().cast(),
            bInheritHandle: 0,
        }
    }

    /// The owner; it points into the descriptor. `None` for an owner that is not told.
    fn owner(&self) -> Option<PSID> {
        let (mut owner, mut defaulted): (PSID, _) = (core::ptr::null_mut(), 0);
        let from = self.owner.as_ptr().cast_mut().cast();
        // SAFETY: a valid descriptor, and out-pointers to live words.
        let done = unsafe { GetSecurityDescriptorOwner(from, &raw mut owner, &raw mut defaulted) };
        (done != 0 && !owner.is_null()).then_some(owner)
    }

    fn is_owned_by_sid(&self, sid: PSID) -> bool {
        // SAFETY: valid SIDs, which live as long as their descriptors.
        self.owner().is_some_and(|owner| unsafe { EqualSid(owner, sid) != 0 })
    }

    /// Whether a user owns it.
    pub(crate) fn is_owned_by(&self, user: &User) -> bool {
        self.is_owned_by_sid(user.sid())
    }

    /// Whether both have one owner.
    pub(crate) fn has_owner_of(&self, other: &Descriptor) -> bool {
        other.owner().is_some_and(|owner| self.is_owned_by_sid(owner))
    }

    /// Whether the system owns it, or the group of the administrators.
    pub(crate) fn belongs_to_the_system(&self) -> bool {
        let known = [WinBuiltinAdministratorsSid, WinLocalSystemSid];
        // SAFETY: a valid SID, which lives as long as the descriptor.
        self.owner().is_some_and(|owner| known.iter().any(|sid| unsafe { IsWellKnownSid(owner, *sid) != 0 }))
    }
}

/// A part of a file's descriptor.
fn information(file: BorrowedHandle<'_>, what: OBJECT_SECURITY_INFORMATION) -> Result<Vec<u64>, Errno> {
    let mut descriptor: *mut c_void = core::ptr::null_mut();
    let (handle, none) = (file.as_raw_handle(), core::ptr::null_mut());
    // SAFETY: an out-pointer to a live word; those that are not wanted may be null.
    let failed = unsafe {
        GetSecurityInfo(
            handle,
            SE_FILE_OBJECT,
            what,
            none,
            none,
            none.cast(),
            none.cast(),
            &raw mut descriptor,
        )
    };
    if failed != 0 {
        return Err(Errno::of(failed));
    }
    // SAFETY: made by the call, self-relative; freed only afterwards, once.
    unsafe {
        let copy = copied(descriptor);
        LocalFree(descriptor);
        Ok(copy)
    }
}

/// A copy of a self-relative descriptor.
///
/// # Safety
/// It has to be valid.
unsafe fn copied(descriptor: *mut c_void) -> Vec<u64> {
    // SAFETY: the caller's word.
    let len = unsafe { GetSecurityDescriptorLength(descriptor) } as usize;
    let mut copy = vec![0u64; len.div_ceil(8)];
    // SAFETY: the descriptor has `len` bytes, and the copy room for them.
    unsafe { core::ptr::copy_nonoverlapping(descriptor.cast::<u8>(), copy.as_mut_ptr().cast(), len) };
    copy
}
