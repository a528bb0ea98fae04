//! What this product measures: the temperature of its chip.

use core::fmt;

use esp_hal::peripherals::TSENS;
use esp_hal::tsens::{Config, TemperatureSensor};

/// The sensor.
pub(crate) struct Thermometer(TemperatureSensor<'static>);

/// A temperature in tenths of a degree Celsius.
#[derive(Clone, Copy)]
pub(crate) struct Tenths(i32);

impl Thermometer {
    /// Switches the sensor on; `None` when it does not start.
    pub(crate) fn start(peripheral: TSENS<'static>) -> Option<Self> {
        TemperatureSensor::new(peripheral, Config::default()).ok().map(Self)
    }

    /// Measures.
    pub(crate) fn measure(&self) -> Tenths {
        let raw = self.0.get_temperature();
        // In integers: no other part of the firmware needs floating point.
        let scaled = i32::from(raw.raw_value) * 4386 - i32::from(raw.offset) * 278_800 - 205_200;
        Tenths(scaled / 1000)
    }
}

impl Tenths {
    /// Tells whether a working chip can be as cold or as hot.
    pub(crate) const fn is_plausible(self) -> bool {
        -400 <= self.0 && self.0 <= 1250
    }
}

impl fmt::Display for Tenths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}.{}", self.0.unsigned_abs() / 10, self.0.unsigned_abs() % 10)
    }
}
