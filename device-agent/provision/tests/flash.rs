//! A device made by the tool is one that firmware understands.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;

use waxwing_agent_flash::Layout;
use waxwing_esp_image::Chip;
use waxwing_esp_image::app::App;
use waxwing_esp_image::partition::{TABLE_AT, Table};
use waxwing_esp_image::write::AppBuilder;
use waxwing_provision::{Content, DeviceFile, FLASH_BYTES, make, write_credentials};
use waxwing_wire::Provision;

const DEVICE: &str = r#"
device = "th1-0001"
product = "acme-th1"
hardware = "r2"
channels = ["stable"]
server = "ota.example:8443"
enrol = "ota.example:8444"
mqtt = "ota.example:8883"
token = "token"
director_root = "director.json"
image_root = "image.json"
server_ca = "ca.pem"
settings = "send_every_s=60"

[wifi]
ssid = "plant"
password = "password"
"#;

/// A folder with `device.toml` and what it names.
fn folder(text: &str) -> anyhow::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let files =
        [("token", "t0ken\n"), ("director.json", "{}"), ("image.json", "{ }"), ("ca.pem", "x")];
    for (name, content) in files {
        fs::write(folder.path().join(name), content)?;
    }
    fs::write(folder.path().join("password"), "s3cret\r\n")?;
    fs::write(folder.path().join("device.toml"), text)?;
    Ok(folder)
}

fn provision(text: &str) -> anyhow::Result<Provision> {
    DeviceFile::read(&folder(text)?.path().join("device.toml"))
}

fn app(code_bytes: usize) -> Vec<u8> {
    AppBuilder::new(Chip::Esp32c3).code(vec![0; code_bytes]).build().unwrap()
}

fn boot_loader(bytes: usize) -> Vec<u8> {
    let image = AppBuilder::new(Chip::Esp32c3).without_descriptor();
    image.ram(0x3fcd_6000, vec![7; bytes]).build().unwrap()
}

fn flash(app: &[u8], boot_loader: &[u8]) -> anyhow::Result<Vec<u8>> {
    make(&Content { boot_loader, boot_loader_at: 0, app })
}

#[test]
fn a_device_made_by_the_tool_is_one_that_firmware_understands() {
    let (app, provision) = (app(64), provision(DEVICE).unwrap());
    let mut flash = flash(&app, &boot_loader(20_000)).unwrap();
    write_credentials(&mut flash, &provision).unwrap();
    assert_eq!(flash.len(), FLASH_BYTES);
    let table = Table::parse(&flash[usize::try_from(TABLE_AT).unwrap()..]).unwrap();
    let layout = Layout::of(table, None).unwrap();
    let at = |offset: u32| &flash[usize::try_from(offset).unwrap()..];
    assert_eq!(Provision::decode(at(layout.credentials().offset)), Ok(provision.clone()));
    assert_eq!(provision.token.expose(), "t0ken");
    assert_eq!(provision.wifi.unwrap().password.expose(), "s3cret");
    let slot = layout.image(layout.slot_at(0x1_0000).unwrap()).unwrap();
    let boot_loader = App::parse(&flash[..boot_loader(20_000).len()]).unwrap();
    assert_eq!(boot_loader.header.flash_config >> 4, 2, "4 MB");
    assert!(App::parse(&at(slot.offset)[..app.len()]).is_ok());
    assert!(at(layout.otadata().offset)[..0x2000].iter().all(|byte| *byte == 0xff));
}

#[test]
fn what_does_not_fit_or_would_not_start_is_refused() {
    assert!(flash(&app(64), &boot_loader(64)).is_ok());
    assert!(flash(b"no image", &boot_loader(64)).is_err());
    assert!(flash(&app(64), b"no boot loader").is_err());
    assert!(flash(&app(2 << 20), &boot_loader(64)).is_err());
    assert!(flash(&app(64), &boot_loader(0x8000)).is_err());
    assert!(write_credentials(&mut vec![0xff; 0x1_0000], &provision(DEVICE).unwrap()).is_err());
}

#[test]
fn a_misspelt_field_is_refused() {
    assert!(provision(&DEVICE.replace("mqtt =", "mqt =")).is_err());
    assert!(provision(&DEVICE.replace("th1-0001", "../th1")).is_err());
    assert!(provision(&DEVICE.replace("ca.pem", "missing.pem")).is_err());
}

#[cfg(unix)]
#[test]
fn what_holds_secrets_is_for_its_owner_to_read_even_where_a_file_was_before() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    let folder = folder(DEVICE).unwrap();
    let (new, old) = (folder.path().join("new.bin"), folder.path().join("old.bin"));
    let flash_image = folder.path().join("flash.bin");
    fs::write(&old, "old and long enough to be left over").unwrap();
    fs::write(&flash_image, flash(&app(64), &boot_loader(64)).unwrap()).unwrap();
    for file in [&old, &flash_image] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    }
    for (command, option, file) in [
        ("credentials", "--out", &new),
        ("credentials", "--out", &old),
        ("write", "--flash", &flash_image),
    ] {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_waxwing-provision"));
        tool.arg(command).arg(folder.path().join("device.toml")).arg(option).arg(file);
        assert!(tool.status().unwrap().success());
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    assert_eq!(fs::read(&old).unwrap(), fs::read(&new).unwrap());
}
