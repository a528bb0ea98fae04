//! The chips: their ids, names, and what differs between them as far as images are concerned.
//!
//! Ids, address windows and page sizes as in `esptool` 5.6.0; widths of the eFuse field as in
//! `espefuse` 5.6.0; Secure Boot as in `soc_caps.h` of ESP-IDF.

use core::fmt;
use core::ops::Range;
use core::str::FromStr;

/// A chip of the ESP32 family.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Chip {
    /// ESP32.
    Esp32,
    /// ESP32-C2 (also sold as ESP8684).
    Esp32c2,
    /// ESP32-C3.
    Esp32c3,
    /// ESP32-C5.
    Esp32c5,
    /// ESP32-C6.
    Esp32c6,
    /// ESP32-C61.
    Esp32c61,
    /// ESP32-E22.
    Esp32e22,
    /// ESP32-H2.
    Esp32h2,
    /// ESP32-H21.
    Esp32h21,
    /// ESP32-H4.
    Esp32h4,
    /// ESP32-P4.
    Esp32p4,
    /// ESP32-S2.
    Esp32s2,
    /// ESP32-S3.
    Esp32s3,
    /// ESP32-S31.
    Esp32s31,
}

/// What the boot loader of a chip knows of Secure Boot v2.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SecureBoot {
    /// ECDSA on P-256.
    pub ecdsa: bool,
    /// RSA-PSS with 3072 bits.
    pub rsa: bool,
    /// How many keys its eFuses hold, and how many signatures of an image it looks at.
    pub keys_max: usize,
}

impl Chip {
    /// Every chip, in the order of their names.
    pub const ALL: [Self; 14] = [
        Self::Esp32,
        Self::Esp32c2,
        Self::Esp32c3,
        Self::Esp32c5,
        Self::Esp32c6,
        Self::Esp32c61,
        Self::Esp32e22,
        Self::Esp32h2,
        Self::Esp32h21,
        Self::Esp32h4,
        Self::Esp32p4,
        Self::Esp32s2,
        Self::Esp32s3,
        Self::Esp32s31,
    ];

    /// Returns the chip with this id in the image header.
    ///
    /// # Errors
    ///
    /// [`UnknownChip`] when no chip of this crate has the id.
    pub fn from_id(id: u16) -> Result<Self, UnknownChip> {
        Self::ALL.into_iter().find(|chip| chip.id() == id).ok_or(UnknownChip)
    }

    /// Returns the id that the image header carries.
    pub const fn id(self) -> u16 {
        match self {
            Self::Esp32 => 0,
            Self::Esp32c2 => 12,
            Self::Esp32c3 => 5,
            Self::Esp32c5 => 23,
            Self::Esp32c6 => 13,
            Self::Esp32c61 => 20,
            Self::Esp32e22 => 31,
            Self::Esp32h2 => 16,
            Self::Esp32h21 => 25,
            Self::Esp32h4 => 28,
            Self::Esp32p4 => 18,
            Self::Esp32s2 => 2,
            Self::Esp32s3 => 9,
            Self::Esp32s31 => 32,
        }
    }

    /// Returns the name, such as `esp32c3`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Esp32 => "esp32",
            Self::Esp32c2 => "esp32c2",
            Self::Esp32c3 => "esp32c3",
            Self::Esp32c5 => "esp32c5",
            Self::Esp32c6 => "esp32c6",
            Self::Esp32c61 => "esp32c61",
            Self::Esp32e22 => "esp32e22",
            Self::Esp32h2 => "esp32h2",
            Self::Esp32h21 => "esp32h21",
            Self::Esp32h4 => "esp32h4",
            Self::Esp32p4 => "esp32p4",
            Self::Esp32s2 => "esp32s2",
            Self::Esp32s3 => "esp32s3",
            Self::Esp32s31 => "esp32s31",
        }
    }

    /// Returns the highest `secure_version` this chip can ever reach: the eFuse field is unary, so
    /// its width in bits is the number of times the version can rise in the life of a device.
    pub const fn secure_version_max(self) -> u32 {
        match self {
            Self::Esp32 => 32,
            Self::Esp32c2 => 4,
            Self::Esp32c5 => 9,
            Self::Esp32c3
            | Self::Esp32c6
            | Self::Esp32c61
            | Self::Esp32e22
            | Self::Esp32h2
            | Self::Esp32h21
            | Self::Esp32h4
            | Self::Esp32p4
            | Self::Esp32s2
            | Self::Esp32s3
            | Self::Esp32s31 => 16,
        }
    }

    /// Returns what its boot loader knows of Secure Boot v2. Of a chip that no release of ESP-IDF says
    /// it of yet, nothing is ruled out.
    pub const fn secure_boot(self) -> SecureBoot {
        match self {
            Self::Esp32 => SecureBoot { ecdsa: false, rsa: true, keys_max: 1 },
            Self::Esp32c2 => SecureBoot { ecdsa: true, rsa: false, keys_max: 1 },
            Self::Esp32c61 => SecureBoot { ecdsa: true, rsa: false, keys_max: 3 },
            Self::Esp32c3 | Self::Esp32s2 | Self::Esp32s3 => {
                SecureBoot { ecdsa: false, rsa: true, keys_max: 3 }
            }
            Self::Esp32c5
            | Self::Esp32c6
            | Self::Esp32e22
            | Self::Esp32h2
            | Self::Esp32h21
            | Self::Esp32h4
            | Self::Esp32p4
            | Self::Esp32s31 => SecureBoot { ecdsa: true, rsa: true, keys_max: 3 },
        }
    }

    /// Returns the addresses at which flash is mapped for data.
    pub const fn data_window(self) -> Range<u32> {
        match self {
            Self::Esp32 => 0x3f40_0000..0x3f80_0000,
            Self::Esp32c2 => 0x3c00_0000..0x3c40_0000,
            Self::Esp32c3 => 0x3c00_0000..0x3c80_0000,
            Self::Esp32c5 | Self::Esp32h4 => 0x4200_0000..0x4400_0000,
            Self::Esp32c6 | Self::Esp32c61 | Self::Esp32h2 => 0x4280_0000..0x4300_0000,
            Self::Esp32e22 => 0x3c00_0000..0x4000_0000,
            Self::Esp32h21 => 0x4200_0000..0x4300_0000,
            Self::Esp32p4 => 0x4000_0000..0x4c00_0000,
            Self::Esp32s2 => 0x3f00_0000..0x3f3f_0000,
            Self::Esp32s3 => 0x3c00_0000..0x3e00_0000,
            Self::Esp32s31 => 0x4000_0000..0x5400_0000,
        }
    }

    /// Returns the addresses at which flash is mapped for code.
    pub const fn code_window(self) -> Range<u32> {
        match self {
            Self::Esp32 => 0x400d_0000..0x4040_0000,
            Self::Esp32c2 => 0x4200_0000..0x4240_0000,
            Self::Esp32c3 | Self::Esp32c6 | Self::Esp32c61 | Self::Esp32h2 => {
                0x4200_0000..0x4280_0000
            }
            Self::Esp32c5 | Self::Esp32h4 | Self::Esp32s3 => 0x4200_0000..0x4400_0000,
            Self::Esp32e22 => 0x3c00_0000..0x4000_0000,
            Self::Esp32h21 => 0x4200_0000..0x4300_0000,
            Self::Esp32p4 => 0x4000_0000..0x4c00_0000,
            Self::Esp32s2 => 0x4008_0000..0x40b8_0000,
            Self::Esp32s31 => 0x4000_0000..0x5400_0000,
        }
    }

    /// Reports whether a segment at this address is mapped from flash instead of copied to RAM.
    pub fn maps_flash_at(self, address: u32) -> bool {
        self.data_window().contains(&address) || self.code_window().contains(&address)
    }

    /// Returns the sizes in bytes that a page of mapped flash can have, the usual one first.
    pub const fn mmu_page_bytes(self) -> &'static [u32] {
        match self {
            Self::Esp32c2 => &[0x1_0000, 0x8000, 0x4000],
            Self::Esp32c6 | Self::Esp32c61 | Self::Esp32h2 | Self::Esp32h21 | Self::Esp32h4 => {
                &[0x1_0000, 0x8000, 0x4000, 0x2000]
            }
            Self::Esp32s31 => &[0x1_0000, 0x8000, 0x2_0000, 0x4_0000],
            Self::Esp32
            | Self::Esp32c3
            | Self::Esp32c5
            | Self::Esp32e22
            | Self::Esp32p4
            | Self::Esp32s2
            | Self::Esp32s3 => &[0x1_0000],
        }
    }
}

impl fmt::Display for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Chip {
    type Err = UnknownChip;

    fn from_str(name: &str) -> Result<Self, UnknownChip> {
        Self::ALL.into_iter().find(|chip| chip.as_str() == name).ok_or(UnknownChip)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Chip {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Chip {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl serde::de::Visitor<'_> for Name {
            type Value = Chip;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a chip, such as esp32c3")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Chip, E> {
                name.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Name)
    }
}

/// No chip has this id or name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UnknownChip;

impl fmt::Display for UnknownChip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a chip of the ESP32 family that is known here")
    }
}

impl core::error::Error for UnknownChip {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chip_is_found_by_its_own_id_and_name_only() {
        for chip in Chip::ALL {
            assert_eq!(Chip::from_id(chip.id()), Ok(chip));
            assert_eq!(chip.as_str().parse(), Ok(chip));
        }
        assert_eq!(Chip::from_id(0xffff), Err(UnknownChip));
        assert_eq!("ESP32".parse::<Chip>(), Err(UnknownChip));
        assert_eq!("esp8266".parse::<Chip>(), Err(UnknownChip));
    }
}
