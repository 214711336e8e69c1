//! The operations that touch memory: by the program's own instructions, and by the kernel on its behalf.

use crate::arena::PAGE;
use crate::half::{FaultSeen, Half, MOST, pattern};
use crate::op::{Place, Size};
use crate::probe::Fault;
use crate::shadow::Area;
use crate::side::Call;
use crate::world::{Step, World, equal, said, same_bytes};

/// How far an access came, and what stopped it.
type Access = (usize, Option<FaultSeen>);

impl World<'_> {
    pub(crate) fn store(&mut self, at: Place, len: Size, value: u8) -> Step {
        let (area, byte) = self.resolve(at);
        let n = self.clip(area, byte, Size(len.0.min(MOST)));
        let bytes = pattern(value, n);
        let seen = self.access(&[(area, byte)], n, |half| {
            half.side.copy(half.address(area, byte), bytes.as_ptr() as usize, n)
        })?;
        self.shadow.stored(area, byte, n, self.size);
        Ok(told(&seen))
    }

    pub(crate) fn load(&mut self, at: Place, len: Size) -> Step {
        let (area, byte) = self.resolve(at);
        let n = self.clip(area, byte, Size(len.0.min(MOST)));
        let seen = self.access(&[(area, byte)], n, |half| {
            half.side.copy(half.buffer.as_ptr() as usize, half.address(area, byte), n)
        })?;
        let done = seen.0;
        for half in &mut self.halves {
            self.shadow.blank_open(area, byte, &mut half.buffer[..done], self.size);
        }
        same_bytes(&self.halves[0].buffer[..done], &self.halves[1].buffer[..done], "in memory")?;
        Ok(told(&seen))
    }

    pub(crate) fn store8(&mut self, at: Place, value: u64) -> Step {
        let (area, byte) = self.resolve(self.word_place(at));
        let seen = self.access(&[(area, byte)], 8, |half| {
            match half.side.store8(half.address(area, byte), value) {
                Ok(()) => (8, None),
                Err(fault) => (0, Some(fault)),
            }
        })?;
        self.shadow.stored(area, byte, 8, self.size);
        Ok(told(&seen))
    }

    pub(crate) fn load8(&mut self, at: Place) -> Step {
        let (area, byte) = self.resolve(self.word_place(at));
        let mut words = Vec::new();
        let seen =
            self.access(&[(area, byte)], 8, |half| match half.side.load8(half.address(area, byte)) {
                Ok(word) => {
                    words.push(word.to_ne_bytes());
                    (8, None)
                }
                Err(fault) => (0, Some(fault)),
            })?;
        for word in &mut words {
            self.shadow.blank_open(area, byte, word, self.size);
        }
        if let [a, b] = words[..] {
            equal(&a, &b, || "loaded".to_string())?;
        }
        Ok(told(&seen))
    }

    /// Byte by byte upwards, from one place of the maps to another.
    pub(crate) fn copy(&mut self, from: Place, to: Place, len: Size) -> Step {
        let ((from_area, from), (to_area, to)) = (self.resolve(from), self.resolve(to));
        let n = self.clip(from_area, from, Size(self.clip(to_area, to, Size(len.0.min(MOST)))));
        let n = self.shadow.specified(from_area, from, n, self.size);
        let seen = self.access(&[(from_area, from), (to_area, to)], n, |half| {
            half.side.copy(half.address(to_area, to), half.address(from_area, from), n)
        })?;
        self.shadow.stored(to_area, to, n, self.size);
        Ok(told(&seen))
    }

    /// The kernel stores into the map.
    pub(crate) fn pread_into(&mut self, at: Place, len: Size) -> Step {
        let (area, byte) = self.resolve(at);
        let n = self.clip(area, byte, Size(len.0.min(MOST)));
        let ret = self.both(Call::Pread, |half| [half.scratch, half.address(area, byte), n, 0, 0, 0])?;
        self.shadow.stored(area, byte, n, self.size);
        Ok(said(ret))
    }

    /// The kernel loads from the map.
    pub(crate) fn pwrite_from(&mut self, at: Place, len: Size) -> Step {
        let (area, byte) = self.resolve(at);
        let n = self.clip(area, byte, Size(len.0.min(MOST)));
        let n = self.shadow.specified(area, byte, n, self.size);
        let ret = self.both(Call::Pwrite, |half| [half.scratch, half.address(area, byte), n, 0, 0, 0])?;
        let [a, b] = self.halves.each_ref().map(|half| half.scratch_content());
        same_bytes(&a, &b, "in the file written from memory")?;
        Ok(said(ret))
    }

    /// Runs an access on both sides and compares how far it came and which fault stopped it.
    fn access(
        &mut self,
        places: &[(Area, usize)],
        n: usize,
        mut run: impl FnMut(&mut Half) -> (usize, Option<Fault>),
    ) -> Result<Access, String> {
        let [a, b] = self.halves.each_mut().map(|half| {
            let (done, fault) = run(half);
            (done, fault.map(|fault| half.fault(fault, places, n)))
        });
        equal(&a, &b, || "came as far, with a fault, as".to_string())?;
        Ok(b)
    }

    /// A place of eight bytes: inside an island, and where the processor may tear a store in two, inside a page.
    fn word_place(&self, at: Place) -> Place {
        if at.island.is_some() || cfg!(not(target_arch = "x86_64")) {
            Place { byte: at.byte.min(PAGE - 8), ..at }
        } else {
            at
        }
    }
}

fn told((_, fault): &Access) -> String {
    fault.as_ref().map_or("ok".to_string(), FaultSeen::name)
}
