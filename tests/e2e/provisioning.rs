//! Devices made by one command: the file it writes is read by the agent's own codec, and a device that
//! has nothing but what is in it enrols with the real server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use waxwing_e2e::ceremony::{CHANNEL, PRODUCT};
use waxwing_e2e::fleet::Batch;
use waxwing_e2e::image::Behaviour;
use waxwing_e2e::server::Listener;
use waxwing_e2e::world::World;
use waxwing_wire::{EnrolUri, Provision};

const DEVICE: &str = "th1-0001";

/// A world, and a template for its product.
struct Factory {
    world: World,
    folder: TempDir,
}

impl Factory {
    fn open() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let world = World::create(&folder.path().join("world"), false)?;
        let factory = Self { world, folder };
        fs::write(factory.path("wifi-password"), "s3cret\n")?;
        fs::write(factory.path("th1.toml"), factory.template())?;
        Ok(factory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The CA is left to the login; the ports of this server are not the usual ones.
    fn template(&self) -> String {
        let at = |listener| self.world.server.address(listener);
        format!(
            "server = \"{}\"\nenrol = \"{}\"\nmqtt = \"{}\"\ndirector_root = \"{}\"\n\
             image_root = \"{}\"\nproduct = \"{PRODUCT}\"\nchannels = [\"{CHANNEL}\"]\n\
             [wifi]\nssid = \"plant\"\npassword = \"wifi-password\"\n",
            at(Listener::Device),
            at(Listener::Enrol),
            at(Listener::Mqtt),
            self.world.director_root().display(),
            self.world.ceremony.image_root().display(),
        )
    }

    fn arguments(&self, arguments: &[&str]) -> Vec<String> {
        let template = self.path("th1.toml").display().to_string();
        let mut all: Vec<_> = ["device", "add"].map(str::to_owned).to_vec();
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        all.extend(["--template".to_owned(), template]);
        all
    }

    fn add(&self, arguments: &[&str]) -> Result<Value> {
        let arguments = self.arguments(arguments);
        self.world.operator.ask(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn is_refused(&self, arguments: &[&str]) -> Result<String> {
        let arguments = self.arguments(arguments);
        self.world.operator.is_refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Adds the devices of a file; returns whether all were, and the report.
    fn add_all(&self, csv: &[u8], more: &[&str]) -> Result<(bool, Vec<Value>)> {
        let (file, folder) = (self.path("devices.csv"), self.path("credentials"));
        fs::write(&file, csv)?;
        let (file, folder) = (file.display().to_string(), folder.display().to_string());
        let arguments = ["--csv", &file, "--out-dir", &folder];
        let arguments = self.arguments(&[&arguments[..], more].concat());
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let output = self.world.operator.command(&arguments)?.arg("--json").output()?;
        let report = serde_json::from_slice(&output.stdout);
        let said = || String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((output.status.success(), report.with_context(said)?))
    }
}

fn decode(file: &Path) -> Result<Provision> {
    Provision::decode(&fs::read(file)?).map_err(Into::into)
}

/// Number, outcome and code of each line.
fn outcomes(report: &[Value]) -> Vec<(u64, &str, &str)> {
    let mut outcomes = Vec::new();
    for row in report {
        let text = |field: &str| row[field].as_str().unwrap_or("?");
        outcomes.push((row["line"].as_u64().unwrap_or(0), text("outcome"), text("code")));
    }
    outcomes
}

#[test]
fn a_device_that_one_command_made_enrols_with_what_its_flash_holds() -> Result<()> {
    let factory = Factory::open()?;
    let (world, file) = (&factory.world, factory.path("th1-0001.bin"));
    let out = file.display().to_string();
    let made = factory.add(&[DEVICE, "--tag", "site=lab", "--out", &out])?;
    assert_eq!((&made["outcome"], &made["offset"]), (&json!("added"), &json!("0xc000")));
    let flash = format!("esptool --chip esp32c3 write-flash 0xc000 {out}");
    assert_eq!(made["flash"], flash);
    let metadata = fs::metadata(&file)?;
    assert_eq!((metadata.permissions().mode() & 0o777, metadata.len()), (0o600, 0x4000));

    let provision = decode(&file)?;
    assert_eq!((provision.device.as_str(), provision.hardware.as_str()), (DEVICE, "r1"));
    assert_eq!(made["token"], provision.token.expose());
    assert_eq!(provision.server_ca, fs::read(world.server.ca())?);
    assert_eq!(provision.wifi.as_ref().map(|wifi| wifi.password.expose()), Some("s3cret"));
    let uri = EnrolUri::decode(made["uri"].as_str().context("a URI")?)?;
    assert_eq!((uri.device(), uri.enrol()), (&provision.device, provision.enrol.as_str()));
    assert_eq!((uri.token(), uri.server_ca().len()), (&provision.token, 1));

    // The same once more does nothing, and shows the same.
    let bytes = fs::read(&file)?;
    let again = factory.add(&[DEVICE, "--out", &out])?;
    assert_eq!((&again["outcome"], &again["uri"]), (&json!("exists"), &made["uri"]));
    assert_eq!(fs::read(&file)?, bytes);

    let image = world.make_image("1.0.0", Behaviour::Work)?;
    let (director, root) = (factory.path("director.json"), factory.path("image.json"));
    fs::write(&director, &provision.director_root)?;
    fs::write(&root, &provision.image_root)?;
    let names = [DEVICE.to_owned()];
    let tokens = [(DEVICE.to_owned(), provision.token.expose().to_owned())];
    let batch = Batch {
        names: &names,
        director_root: Some(&director),
        image_root: Some(&root),
        ..Batch::default()
    };
    let fleet = world.start_with(&batch, &tokens, &image)?;
    fleet.switch_off()?;

    // It has a key now: a new token is for one that lost it.
    fs::remove_file(&file)?;
    let refused = factory.is_refused(&[DEVICE, "--out", &out])?;
    ensure!(refused.contains("enrolled already") && !file.exists(), "{refused}");
    assert_eq!(factory.add(&[DEVICE, "--out", &out, "--force"])?["outcome"], "renewed");
    assert_ne!(decode(&file)?.token, provision.token);

    let audit = world.operator.ask(&["audit"])?.to_string();
    ensure!(audit.contains("device_created") && audit.contains("token_created"), "{audit}");
    let token = provision.token.expose();
    ensure!(!audit.contains(token), "a token is in the audit log");
    Ok(())
}

#[test]
fn what_a_crash_left_is_finished_by_the_same_command() -> Result<()> {
    let factory = Factory::open()?;
    let file = factory.path("th1-0001.bin");
    let out = file.display().to_string();
    // Registered and given a token; then the power went.
    let lost = factory.world.register(DEVICE)?;
    let made = factory.add(&[DEVICE, "--out", &out])?;
    assert_eq!(made["outcome"], "renewed");
    assert_ne!(made["token"], lost.as_str());

    // A file that is not of this device is never touched.
    for content in [&b""[..], b"something else", &fs::read(&file)?] {
        let other = factory.path("th1-0002.bin");
        fs::write(&other, content)?;
        let refused = factory.is_refused(&["th1-0002", "--out", &other.display().to_string()])?;
        ensure!(refused.contains("does not hold the credentials"), "{refused}");
        assert_eq!(fs::read(&other)?, content);
    }
    let devices = factory.world.operator.ask(&["device", "list"])?;
    assert_eq!(devices.as_array().map(Vec::len), Some(1), "and nothing was registered");
    Ok(())
}

#[test]
fn what_no_device_could_use_is_refused_before_anything_is_registered() -> Result<()> {
    let factory = Factory::open()?;
    let out = factory.path("th1-0001.bin").display().to_string();
    let template = factory.template();
    let director = format!("\"{}\"", factory.world.director_root().display());
    let image = format!("\"{}\"", factory.world.ceremony.image_root().display());
    for (from, to, why) in [
        (director.as_str(), image.as_str(), "the director_root is none"),
        (&image, &director, "the image_root is none of"),
        (&image, "\"missing.json\"", "cannot read"),
        (CHANNEL, "nightly", "no channel nightly"),
        ("wifi-password", "no-such-file", "cannot read"),
        ("product =", "token = \"wifi-password\"\nproduct =", "neither `device` nor `token`"),
        ("enrol = \"", "enrol = \"https://", "not host:port"),
        ("product =", "hardware = \"r9\"\nproduct =", "no such hardware revision"),
        ("product =", "passwort = \"x\"\nproduct =", "unknown field"),
    ] {
        let changed = template.replacen(from, to, 1);
        ensure!(changed != template, "{from}");
        fs::write(factory.path("th1.toml"), changed)?;
        let refused = factory.is_refused(&[DEVICE, "--out", &out])?;
        ensure!(refused.contains(why), "{why}: {refused}");
    }
    fs::write(factory.path("th1.toml"), &template)?;
    let refused = factory.is_refused(&[DEVICE, "--out", &out, "--product", "other"])?;
    ensure!(refused.contains("another product"), "{refused}");
    let devices = factory.world.operator.ask(&["device", "list"])?;
    assert_eq!(devices, json!([]));
    ensure!(!Path::new(&out).exists(), "a file was written");
    Ok(())
}

#[test]
fn each_line_of_a_file_is_judged_by_itself_and_running_again_does_the_rest() -> Result<()> {
    let factory = Factory::open()?;
    let credentials = factory.path("credentials");
    factory.world.operator.ask(&["device", "add", "th1-0009", "--product", PRODUCT])?;
    factory.world.operator.ask(&["device", "revoke", "th1-0009"])?;
    let csv = [
        &b"id,product,hardware,tag\n"[..],
        b"th1-0001,acme-th1,r1,site=lab\n",
        b"=HYPERLINK(1),acme-th1,r1,x\n",
        b"th1-0002,,,\n",
        b"th1-0001,acme-th1,r1,\n",
        b"th1-\xff,acme-th1,r1,\n",
        b"th1-0003,other,r1,\n",
        b"th1-0004,acme-th1,r9,\n",
        b"th1-0005,acme-th1,r1,bad key=1\n",
        b"th1-0009,acme-th1,r1,\n",
        b"th1-0006",
    ]
    .concat();
    let (complete, report) = factory.add_all(&csv, &[])?;
    ensure!(!complete, "{report:?}");
    let expected = [
        (2, "added", ""),
        (3, "failed", "invalid_id"),
        (4, "added", ""),
        (5, "failed", "duplicate_device"),
        (6, "failed", "not_text"),
        (7, "failed", "other_product"),
        (8, "failed", "unknown_hardware"),
        (9, "failed", "invalid_tags"),
        (10, "failed", "device_revoked"),
        (11, "added", ""),
    ];
    assert_eq!(outcomes(&report), expected);
    let advised = report.iter().all(|row| (row["outcome"] == "failed") == (row["next"] != ""));
    ensure!(advised, "{report:?}");
    assert_eq!(fs::metadata(&credentials)?.permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_dir(&credentials)?.count(), 3, "whole files of good lines, nothing else");

    // One file is lost: its device gets a new token, the others are left alone.
    let kept = decode(&credentials.join("th1-0001.bin"))?;
    let lost = decode(&credentials.join("th1-0002.bin"))?;
    fs::remove_file(credentials.join("th1-0002.bin"))?;
    let good = b"id\nth1-0001\nth1-0002\nth1-0006\n";
    let (complete, report) = factory.add_all(good, &[])?;
    assert_eq!(outcomes(&report), [(2, "exists", ""), (3, "renewed", ""), (4, "exists", "")]);
    ensure!(complete, "nothing failed");
    assert_eq!(decode(&credentials.join("th1-0001.bin"))?, kept);
    assert_ne!(decode(&credentials.join("th1-0002.bin"))?.token, lost.token);
    Ok(())
}
