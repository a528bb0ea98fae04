//! Serial output: single bytes, and C's `printf`.

use super::{Call, Function};
use crate::core::Core as _;

/// Functions of this group.
pub(super) const FUNCTIONS: &[(u32, Function)] = &[
    (0x4000_0040, ets_printf),
    (0x4000_0048, |_| {}), // ets_install_uart_printf
    (0x4000_0068, uart_tx_one_char),
    (0x4000_006c, uart_tx_one_char),
    (0x4000_0080, |_| {}), // uart_tx_flush
    (0x4000_0084, |_| {}), // uart_tx_wait_idle
    (0x4000_08d4, |_| {}), // usb_uart_tx_flush
    (0x4000_08d8, uart_tx_one_char),
];

fn uart_tx_one_char(call: &mut Call<'_, '_>) {
    let [byte, ..] = call.argument(0).to_le_bytes();
    call.engine.board_mut().serial.put(byte);
    call.answer(0);
}

fn ets_printf(call: &mut Call<'_, '_>) {
    let mut arguments = Arguments { next: 1 };
    let mut format = call.text(call.argument(0)).into_iter();
    let mut printed = Vec::new();
    while let Some(byte) = format.next() {
        if byte == b'%' {
            printed.extend(Field::parse(&mut format).print(call, &mut arguments));
        } else {
            printed.push(byte);
        }
    }
    for byte in &printed {
        call.engine.board_mut().serial.put(*byte);
    }
    call.answer(u32::try_from(printed.len()).unwrap_or(u32::MAX));
}

/// Arguments of a function of variable arity: seven in registers, the rest on the stack.
struct Arguments {
    next: u8,
}

impl Arguments {
    fn word(&mut self, call: &Call<'_, '_>) -> u32 {
        let number = self.next;
        self.next += 1;
        let Some(above) = number.checked_sub(8) else { return call.argument(number) };
        let bytes = call.read(call.engine.stack_pointer() + 4 * u32::from(above), 4);
        bytes.first_chunk().map_or(0, |word| u32::from_le_bytes(*word))
    }

    /// A number of two words begins at an even register.
    fn long(&mut self, call: &Call<'_, '_>) -> u64 {
        self.next += self.next % 2;
        u64::from(self.word(call)) | u64::from(self.word(call)) << 32
    }
}

/// One `%` of a format.
#[derive(Debug, Default, Eq, PartialEq)]
struct Field {
    zeros: bool,
    left: bool,
    width: usize,
    longs: u8,
    kind: u8,
}

impl Field {
    fn parse(format: &mut impl Iterator<Item = u8>) -> Self {
        let mut field = Self::default();
        for byte in format {
            match byte {
                b'0' if field.width == 0 => field.zeros = true,
                b'0'..=b'9' => field.width = field.width * 10 + usize::from(byte - b'0'),
                b'-' => field.left = true,
                b'l' => field.longs += 1,
                b'.' | b'h' | b'z' | b'+' | b' ' | b'#' => {}
                kind => {
                    field.kind = kind;
                    break;
                }
            }
        }
        field
    }

    fn print(&self, call: &Call<'_, '_>, arguments: &mut Arguments) -> Vec<u8> {
        let text = match self.kind {
            b'%' => return vec![b'%'],
            b'c' => vec![arguments.word(call).to_le_bytes()[0]],
            b's' => call.text(arguments.word(call)),
            b'd' | b'i' => self.signed(call, arguments).to_string().into_bytes(),
            b'u' => self.unsigned(call, arguments).to_string().into_bytes(),
            b'x' => format!("{:x}", self.unsigned(call, arguments)).into_bytes(),
            b'X' => format!("{:X}", self.unsigned(call, arguments)).into_bytes(),
            b'p' => format!("{:#x}", arguments.word(call)).into_bytes(),
            kind => vec![b'%', kind],
        };
        self.pad(text)
    }

    fn signed(&self, call: &Call<'_, '_>, arguments: &mut Arguments) -> i64 {
        if self.longs > 1 {
            return arguments.long(call).cast_signed();
        }
        arguments.word(call).cast_signed().into()
    }

    fn unsigned(&self, call: &Call<'_, '_>, arguments: &mut Arguments) -> u64 {
        if self.longs > 1 { arguments.long(call) } else { arguments.word(call).into() }
    }

    fn pad(&self, mut text: Vec<u8>) -> Vec<u8> {
        let missing = self.width.saturating_sub(text.len());
        if self.left {
            text.resize(text.len() + missing, b' ');
            return text;
        }
        let mut padded = vec![if self.zeros { b'0' } else { b' ' }; missing];
        padded.append(&mut text);
        padded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_padded_as_its_format_says() {
        for (format, text, expected) in [
            ("08x", "1f", "0000001f"),
            ("6d", "42", "    42"),
            ("-4s|", "ab", "ab  "),
            ("s", "abc", "abc"),
        ] {
            let field = Field::parse(&mut format.bytes());
            assert_eq!(field.pad(text.into()), expected.as_bytes(), "{format}");
        }
    }
}
