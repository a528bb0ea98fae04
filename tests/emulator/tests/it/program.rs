//! Programs of a few instructions, and the flash that the ROM starts them from.

/// Registers by their number.
const RA: u32 = 1;
const T0: u32 = 5;
const T1: u32 = 6;
pub(crate) const A0: u32 = 10;
pub(crate) const A1: u32 = 11;
pub(crate) const A2: u32 = 12;

/// Where the program is loaded and begins.
pub(crate) const ENTRY: u32 = 0x4038_0000;
/// Where its texts are.
const TEXTS: u32 = 0x3fc9_0000;

/// Functions of the ROM.
const PRINTF: u32 = 0x4000_0040;
pub(crate) const RESET: u32 = 0x4000_0090;
pub(crate) const ERASE_SECTOR: u32 = 0x4000_0128;
pub(crate) const WRITE: u32 = 0x4000_012c;

pub(crate) const WAIT_FOR_INTERRUPT: u32 = 0x1050_0073;
pub(crate) const FOR_EVER: u32 = 0x0000_006f;

/// Code and texts, growing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    words: Vec<u32>,
    texts: Vec<u8>,
}

impl Program {
    /// An instruction as it is.
    pub(crate) fn word(mut self, word: u32) -> Self {
        self.words.push(word);
        self
    }

    /// Loads a constant.
    pub(crate) fn load(self, register: u32, value: u32) -> Self {
        let upper = value.wrapping_add(0x800) & 0xffff_f000;
        let lower = value.wrapping_sub(upper) & 0xfff;
        self.word(upper | register << 7 | 0x37)
            .word(lower << 20 | register << 15 | register << 7 | 0x13)
    }

    /// Stores a constant at an address.
    pub(crate) fn store(self, address: u32, value: u32) -> Self {
        self.load(T0, address).load(T1, value).word(T1 << 20 | T0 << 15 | 2 << 12 | 0x23)
    }

    /// Reads an address.
    pub(crate) fn read(self, register: u32, address: u32) -> Self {
        self.load(T0, address).word(T0 << 15 | 2 << 12 | register << 7 | 0x03)
    }

    /// Writes a control register.
    pub(crate) fn control(self, number: u32, value: u32) -> Self {
        self.load(T0, value).word(number << 20 | T0 << 15 | 1 << 12 | 0x73)
    }

    /// Reads a control register.
    pub(crate) fn read_control(self, register: u32, number: u32) -> Self {
        self.word(number << 20 | 2 << 12 | register << 7 | 0x73)
    }

    /// Calls a function.
    pub(crate) fn call(self, address: u32) -> Self {
        self.load(T0, address).word(T0 << 15 | RA << 7 | 0x67)
    }

    /// Prints a format with what is in `a1` and on.
    pub(crate) fn print(mut self, format: &str) -> Self {
        let at = TEXTS + u32::try_from(self.texts.len()).unwrap();
        self.texts.extend(format.bytes().chain([0]));
        self.load(A0, at).call(PRINTF)
    }

    /// Goes on at a multiple of 256 bytes, as tables of handlers must; returns the address.
    pub(crate) fn handler(mut self) -> (Self, u32) {
        self.words.push(FOR_EVER);
        self.words.resize(self.words.len().next_multiple_of(64), 0);
        let at = ENTRY + 4 * u32::try_from(self.words.len()).unwrap();
        (self, at)
    }

    /// How many instructions there are.
    pub(crate) fn count(&self) -> usize {
        self.words.len()
    }

    /// A flash of 4 MB that begins with the program in the place of a boot loader.
    pub(crate) fn flash(&self) -> Vec<u8> {
        let mut texts = self.texts.clone();
        texts.resize(texts.len().next_multiple_of(4), 0);
        let code: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut image = vec![0; 24];
        image[..4].copy_from_slice(&[0xe9, 2, 2, 0x20]);
        image[4..8].copy_from_slice(&ENTRY.to_le_bytes());
        for (address, data) in [(ENTRY, &code), (TEXTS, &texts)] {
            image.extend(address.to_le_bytes());
            image.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
            image.extend(data);
        }
        let checksum = code.iter().chain(&texts).fold(0xef, |sum, byte| sum ^ byte);
        image.resize((image.len() + 1).next_multiple_of(16) - 1, 0);
        image.push(checksum);
        image.resize(0x40_0000, 0xff);
        image
    }
}
