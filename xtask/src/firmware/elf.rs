//! How much memory a program for the chip takes, by the section table of its ELF file.

/// Where data may be: internal memory, seen as data. The same memory holds code under other addresses.
const DATA: std::ops::Range<u64> = 0x3fc8_0000..0x3fce_0000;
const CODE: std::ops::Range<u64> = 0x4037_c000..0x403e_0000;
/// The section takes room in memory (`SHF_ALLOC`).
const ALLOCATED: u64 = 2;
/// Length of a section header.
const HEADER_BYTES: usize = 40;

/// What of the chip's memory is taken, in bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::struct_field_names, reason = "the unit is part of a name")]
pub(super) struct Memory {
    /// Data that lives as long as the program, its heap included.
    pub(super) static_bytes: u64,
    /// Code that runs from memory, for while flash is written.
    pub(super) code_bytes: u64,
    /// What is left for the stack.
    pub(super) stack_bytes: u64,
}

impl Memory {
    /// Reads the section table.
    pub(super) fn of(elf: &[u8]) -> Option<Self> {
        let names = usize::try_from(number(elf, 0x32, 2)?).ok()?;
        let names = usize::try_from(number(header(elf, names)?, 16, 4)?).ok()?;
        let mut memory = Self::default();
        for header in sections(elf)? {
            let field = |at: usize| number(header, at, 4);
            let (name, flags, address, bytes) = (field(0)?, field(8)?, field(12)?, field(20)?);
            let name = elf.get(names.checked_add(usize::try_from(name).ok()?)?..)?;
            let name = name.split(|byte| *byte == 0).next()?;
            if flags & ALLOCATED == 0 {
                continue;
            }
            if name == b".stack" {
                memory.stack_bytes += bytes;
            } else if DATA.contains(&address) && !name.ends_with(b"_dummy") {
                memory.static_bytes += bytes;
            } else if CODE.contains(&address) {
                memory.code_bytes += bytes;
            }
        }
        Some(memory)
    }
}

/// Returns the section headers.
pub(super) fn sections(elf: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let count = usize::try_from(number(elf, 0x30, 2)?).ok()?;
    header(elf, count.checked_sub(1)?)?;
    Some((0..count).filter_map(|index| header(elf, index)))
}

/// Returns one section header.
pub(super) fn header(elf: &[u8], index: usize) -> Option<&[u8]> {
    let at = usize::try_from(number(elf, 0x20, 4)?).ok()?;
    elf.get(at.checked_add(index.checked_mul(HEADER_BYTES)?)?..)?.get(..HEADER_BYTES)
}

/// A little-endian number.
pub(super) fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file of nothing but sections: name, flags, address, length.
    fn elf(sections: &[(&str, u64, u64, u64)]) -> Vec<u8> {
        let names: Vec<u8> =
            sections.iter().flat_map(|it| [it.0.as_bytes(), b"\0"].concat()).collect();
        let mut elf = vec![0; 0x34];
        elf.extend(&names);
        let table = elf.len();
        let mut name_at = 0;
        for (name, flags, address, bytes) in sections {
            let mut header = [0; HEADER_BYTES];
            for (at, value) in [(0, name_at), (8, *flags), (12, *address), (16, 0x34), (20, *bytes)]
            {
                header[at..at + 4].copy_from_slice(&u32::try_from(value).unwrap().to_le_bytes());
            }
            name_at += u64::try_from(name.len()).unwrap() + 1;
            elf.extend(header);
        }
        elf[0x20..0x24].copy_from_slice(&u32::try_from(table).unwrap().to_le_bytes());
        elf[0x30] = u8::try_from(sections.len()).unwrap();
        elf
    }

    #[test]
    fn memory_is_counted_once_and_by_what_it_is_for() {
        let elf = elf(&[
            (".data", 3, 0x3fc8_1000, 100),
            (".bss", 3, 0x3fc8_2000, 1_000),
            (".rwdata_dummy", 6, 0x3fc8_0000, 5_000),
            (".rwtext", 6, 0x4038_0000, 5_000),
            (".stack", 6, 0x3fc9_0000, 90_000),
            (".rodata", 2, 0x3c00_0020, 7),
            (".debug_info", 0, 0x3fc8_0000, 7),
        ]);
        let memory = Memory { static_bytes: 1_100, code_bytes: 5_000, stack_bytes: 90_000 };
        assert_eq!(Memory::of(&elf), Some(memory));
        assert_eq!(Memory::of(&elf[..40]), None);
    }
}
