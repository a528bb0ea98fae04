//! A device made by the tool is one that firmware understands.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use waxwing_agent_flash::Layout;
use waxwing_esp_image::Chip;
use waxwing_esp_image::app::App;
use waxwing_esp_image::partition::{Kind, Partition, TABLE_AT, Table, write};
use waxwing_esp_image::write::AppBuilder;
use waxwing_provision::{Content, FLASH_BYTES, Readers, Template, create, make, write_credentials};
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
    Template::read(&folder(text)?.path().join("device.toml"))?.provision()
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
    write_credentials(&mut flash, &provision, None).unwrap();
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
    let empty = &mut vec![0xff; 0x1_0000];
    assert!(write_credentials(empty, &provision(DEVICE).unwrap(), None).is_err());
}

#[test]
fn a_misspelt_field_is_refused() {
    assert!(provision(&DEVICE.replace("mqtt =", "mqt =")).is_err());
    assert!(provision(&DEVICE.replace("th1-0001", "../th1")).is_err());
    assert!(provision(&DEVICE.replace("ca.pem", "missing.pem")).is_err());
}

#[test]
fn what_a_file_leaves_open_is_said_by_its_name() {
    for field in ["device", "product", "hardware", "server", "enrol", "token", "server_ca"] {
        let text = DEVICE.replace(&format!("\n{field} ="), "\n# ");
        let error = provision(&text).unwrap_err().to_string();
        assert_eq!(error, format!("`{field}` is missing"));
    }
}

#[test]
fn a_file_that_may_not_be_replaced_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new.bin");
    create(&path, b"first", Readers::Owner).unwrap();
    assert!(create(&path, b"second", Readers::Owner).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"first");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "and nothing is left behind");
}

#[cfg(unix)]
#[test]
fn what_holds_secrets_is_for_its_owner_to_read_even_where_a_file_was_before() {
    use std::os::unix::fs::PermissionsExt as _;

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

/// A device of before, which has a partition for core dumps and none for the agent.
fn old_table() -> Vec<u8> {
    let partitions = [
        Partition::new("nvs", Kind::Nvs, 0x9000, 0x4000),
        Partition::new("otadata", Kind::OtaData, 0xd000, 0x2000),
        Partition::new("ota_0", Kind::Ota(0), 0x1_0000, 0x10_0000),
        Partition::new("ota_1", Kind::Ota(1), 0x11_0000, 0x10_0000),
        Partition::new("coredump", Kind::Other(1, 3), 0x21_0000, 0x3_0000),
    ];
    write(&partitions).unwrap().to_vec()
}

fn tool(folder: &Path, arguments: &[&str]) -> Output {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_waxwing-provision"));
    tool.current_dir(folder).args(arguments).output().unwrap()
}

#[test]
fn a_device_in_the_field_gets_its_credentials_where_its_firmware_looks_for_them() {
    let folder = folder(DEVICE).unwrap();
    let (path, table) = (folder.path(), old_table());
    let layout = Layout::of(Table::parse(&table).unwrap(), Some("coredump")).unwrap();
    let place = *layout.credentials();
    let expected = format!("credentials: {:#x}, {:#x} bytes\n", place.offset, place.bytes);
    fs::write(path.join("table.bin"), &table).unwrap();
    let spare = ["--table", "table.bin", "--spare", "coredump"];
    let made = [&["credentials", "device.toml", "--out", "cred.bin"][..], &spare].concat();
    assert_eq!(String::from_utf8(tool(path, &made).stdout).unwrap(), expected);
    let mut flash = vec![0xff; FLASH_BYTES];
    flash[0x8000..][..table.len()].copy_from_slice(&table);
    fs::write(path.join("flash.bin"), &flash).unwrap();
    let written = ["write", "device.toml", "--flash", "flash.bin", "--spare", "coredump"];
    assert_eq!(String::from_utf8(tool(path, &written).stdout).unwrap(), expected);
    let credentials = fs::read(path.join("cred.bin")).unwrap();
    let at = usize::try_from(place.offset).unwrap();
    flash[at..][..credentials.len()].copy_from_slice(&credentials);
    assert!(fs::read(path.join("flash.bin")).unwrap() == flash, "and nothing else was changed");
    let read = Provision::decode(&flash[at..]).unwrap();
    assert_eq!(read.token.expose(), "t0ken");
}

#[test]
fn a_table_without_room_for_the_credentials_is_refused_and_nothing_is_written() {
    let folder = folder(DEVICE).unwrap();
    fs::write(folder.path().join("table.bin"), old_table()).unwrap();
    fs::write(folder.path().join("zeros.bin"), [0; 0xc00]).unwrap();
    for rest in [
        &["--table", "table.bin"][..],
        &["--table", "table.bin", "--spare", "nvs"],
        &["--table", "table.bin", "--spare", "otadata"],
        &["--table", "zeros.bin", "--spare", "coredump"],
        &["--spare", "coredump"],
    ] {
        let made = [&["credentials", "device.toml", "--out", "cred.bin"][..], rest].concat();
        assert!(!tool(folder.path(), &made).status.success(), "{rest:?}");
        assert!(!folder.path().join("cred.bin").exists(), "{rest:?}");
    }
}

#[test]
fn a_file_that_was_there_is_not_touched_until_the_new_one_is_whole() {
    let folder = folder(DEVICE).unwrap();
    let (out, kept) = (folder.path().join("out.bin"), folder.path().join("kept.bin"));
    fs::write(&out, "before").unwrap();
    fs::hard_link(&out, &kept).unwrap();
    let files = || fs::read_dir(folder.path()).unwrap().count();
    let before = files();
    assert!(tool(folder.path(), &["table", "--out", "out.bin"]).status.success());
    assert_eq!(fs::read(&kept).unwrap(), b"before");
    assert_eq!(fs::read(&out).unwrap(), waxwing_provision::table().unwrap());
    assert_eq!(files(), before, "and nothing is left behind");
    fs::create_dir(folder.path().join("folder")).unwrap();
    assert!(!tool(folder.path(), &["table", "--out", "folder"]).status.success());
}
