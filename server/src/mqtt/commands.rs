//! Sends commands: signed by the Director, numbered, on their way at once or not at all.
//!
//! Not here: which commands there are (`waxwing-wire`), nor who may send them.

use waxwing_tuf::author;
use waxwing_wire::DeviceId;
use waxwing_wire::command::Command;

use super::Delivery;
use crate::app::App;
use crate::director::clock_guard::ClockAhead;

/// Signs a command and sends it to a device. The answer says whether it is on its way, not
/// whether the device obeys.
pub fn send(app: &App, device: &DeviceId, command: Command) -> Result<Delivery, SendError> {
    let now_ms = app.director.now_ms()?;
    // Stamps rise, also when the clock was set back and over a restart.
    let seq = app.fleet.stamp(now_ms);
    let bytes = app.director.command(device, command, seq, now_ms)?;
    Ok(app.hub.command(device, bytes.into()))
}

/// Tells those of the devices that are connected and listen to poll now, and returns how many
/// there are. A device that misses it polls when its time comes, so failures change nothing.
pub fn nudge<'a>(app: &App, devices: impl IntoIterator<Item = &'a DeviceId>) -> usize {
    let Ok(now_ms) = app.director.now_ms() else { return 0 };
    app.hub.nudge(devices, |device| {
        let seq = app.fleet.stamp(now_ms);
        app.director.command(device, Command::Poll, seq, now_ms).ok().map(Into::into)
    })
}

/// Why a command was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The clock is not to be believed (D5).
    #[error("commands cannot be signed now")]
    Clock(#[from] ClockAhead),
    /// The Director's key cannot be used.
    #[error("the Director cannot sign a command")]
    Sign(#[from] author::Error),
}
