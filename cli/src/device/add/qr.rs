//! QR codes on a terminal: black on white whatever its colours, two modules in a character.

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use waxwing_wire::EnrolUri;

use super::unfit::Unfit;

/// Sets black on white, in the colours that no theme changes.
const BLACK_ON_WHITE: &str = "\u{1b}[38;5;16;48;5;231m";
const RESET: &str = "\u{1b}[0m";

/// Draws what a production line scans. A seventh of it may be dirty.
pub(super) fn draw(uri: &EnrolUri) -> Result<String, Unfit> {
    let code = QrCode::with_error_correction_level(uri.encode().expose(), EcLevel::M);
    let code = code.map_err(|_| Unfit::Code)?;
    let mut picture = code.render::<Dense1x2>();
    let lines = picture.dark_color(Dense1x2::Dark).light_color(Dense1x2::Light).build();
    let lines = lines.lines().map(|line| format!("{BLACK_ON_WHITE}{line}{RESET}"));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use rqrr::PreparedImage;
    use waxwing_wire::provision::Secret;
    use waxwing_wire::{DeviceId, Digest};

    use super::*;

    /// Pixels along a module, for a camera that is not perfect.
    const SCALE: usize = 4;

    /// Photographs a terminal: a module is dark where ink is.
    fn photograph(drawn: &str) -> Vec<Vec<u8>> {
        let mut rows = Vec::new();
        for line in drawn.lines() {
            let line = line.strip_prefix(BLACK_ON_WHITE).unwrap().strip_suffix(RESET).unwrap();
            for is_ink in
                [|c| "\u{2580}\u{2588}".contains(c), |c: char| "\u{2584}\u{2588}".contains(c)]
            {
                let modules = line.chars().map(|c| if is_ink(c) { 0 } else { 255 });
                let row: Vec<u8> = modules.flat_map(|grey| [grey; SCALE]).collect();
                rows.extend(vec![row; SCALE]);
            }
        }
        rows
    }

    fn scan(drawn: &str) -> String {
        let rows = photograph(drawn);
        let (width, height) = (rows[0].len(), rows.len());
        let mut image = PreparedImage::prepare_from_greyscale(width, height, |x, y| rows[y][x]);
        image.detect_grids()[0].decode().unwrap().1
    }

    #[test]
    fn what_is_drawn_is_scanned_and_read() {
        for (name, cas) in [("th1-0001", 1), ("x".repeat(64).as_str(), 4)] {
            let digests = (0..cas).map(|n| Digest([n; 32])).collect();
            let token = Secret::new("aB3_-".repeat(8) + "xyz");
            let enrol = "updates.example:8444".to_owned();
            let device = DeviceId::parse(name).unwrap();
            let uri = EnrolUri::new(device, enrol, token, digests).unwrap();
            assert_eq!(EnrolUri::decode(&scan(&draw(&uri).unwrap())), Ok(uri));
        }
    }
}
