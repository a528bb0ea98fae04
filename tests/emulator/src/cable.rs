//! Between the network controller and the memory of the device: frames go where the buffer
//! descriptors say.

use crate::core::{Core as _, Engine};

/// Cycles after which something sent is looked at: a frame's time on the cable.
const FRAME_CYCLES: u64 = 1000;

/// Carries out what the program wants sent, and in what has arrived, as far as there are buffers.
pub(crate) fn exchange(engine: &mut Engine<'_>) {
    while let Some(buffer) = engine.board().ethernet.next_to_transmit() {
        let frame = engine.read(buffer.address, u32::try_from(buffer.bytes).unwrap_or(0));
        let board = engine.board_mut();
        board.sent.push_back(frame);
        board.network_at = board.network_at.min(board.now + FRAME_CYCLES);
        board.ethernet.transmitted(buffer);
    }
    while let Some((frame, buffer)) = engine.board_mut().ethernet.next_received() {
        engine.write(buffer.address, &frame);
        engine.board_mut().ethernet.received(buffer);
    }
    engine.board_mut().refresh();
}
