//! Rows 39 and 40: an operator's token in the wrong hands, without release keys. What it uploads is
//! refused with a stable code, and nothing of it is stored.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use reqwest::Certificate;
use reqwest::blocking::{Client, RequestBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use waxwing_e2e::ceremony::{CHANNEL, PRODUCT, Plan, Release, Repository};
use waxwing_e2e::image::Behaviour;
use waxwing_e2e::server::Listener;
use waxwing_e2e::world::{FACTORY_VERSION, World};
use waxwing_esp_image::Chip;
use waxwing_esp_image::write::AppBuilder;
use waxwing_tuf::Time;
use waxwing_tuf::author::{Metadata, SignedFile};
use waxwing_wire::Digest;
use waxwing_wire::bundle::{Kind, Writer};

/// Length of a Secure Boot signature sector.
const SECTOR: usize = 4096;

/// Metadata files by the names devices ask for.
type Files = BTreeMap<String, Vec<u8>>;

/// A real server with one published release, and somebody with a token for it.
struct Shop {
    world: World,
    folder: TempDir,
    client: Client,
    token: String,
}

impl Shop {
    fn open() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("waxwing-uploads-").tempdir()?;
        let plan = Plan { worthless_keys: true, ..Plan::default() };
        let world = World::create_as(folder.path(), plan)?;
        let factory = world.make_image(FACTORY_VERSION, Behaviour::Work)?;
        world.publish(FACTORY_VERSION, 1, &factory)?;
        let ca = Certificate::from_pem(&fs::read(world.server.ca())?)?;
        let client = Client::builder().tls_certs_only([ca]).build()?;
        let token = fs::read_to_string(world.server.token())?.trim().to_owned();
        Ok(Self { world, folder, client, token })
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1/products/{PRODUCT}/{path}", self.world.server.url(Listener::Admin))
    }

    /// Sends a request; gives status and stable code, which is empty if there is none.
    fn send(&self, request: RequestBuilder) -> Result<(u16, String)> {
        let answer = request.bearer_auth(&self.token).send()?;
        let status = answer.status().as_u16();
        let problem: Value = serde_json::from_slice(&answer.bytes()?).unwrap_or_default();
        Ok((status, problem["code"].as_str().unwrap_or_default().to_owned()))
    }

    fn put_image(&self, image: &[u8]) -> Result<(u16, String)> {
        let sha256 = Digest(Sha256::digest(image).into());
        self.send(self.client.put(self.url(&format!("images/{sha256}"))).body(image.to_vec()))
    }

    fn publish(&self, files: &Files) -> Result<(u16, String)> {
        let mut bundle = Writer::new();
        for (name, bytes) in files {
            bundle.push(Kind::Image, name, bytes).ok().context("the bundle takes the file")?;
        }
        self.send(self.client.post(self.url("metadata")).body(bundle.finish(0)))
    }

    /// What the server holds: releases, and what it wrote down.
    fn holdings(&self) -> Result<(Value, Value)> {
        let operator = &self.world.operator;
        Ok((operator.ask(&["release", "list", PRODUCT])?, operator.ask(&["audit"])?))
    }

    /// The repository as it was made ready on the publisher's machine.
    fn files(&self) -> Result<Files> {
        let mut files = Files::new();
        for entry in fs::read_dir(self.world.ceremony.metadata(Repository::Image))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let is_served =
                name == "timestamp.json" || name.starts_with(|c: char| c.is_ascii_digit());
            if is_served {
                let path = self.world.ceremony.metadata(Repository::Image).join(&name);
                files.insert(name, fs::read(path)?);
            }
        }
        Ok(files)
    }
}

/// Signs a timestamp that says something else.
fn forge_timestamp(shop: &Shop, files: &mut Files, change: impl FnOnce(&mut Value)) -> Result<()> {
    let timestamp = files.get_mut("timestamp.json").context("there is a timestamp")?;
    let mut file: Value = serde_json::from_slice(timestamp)?;
    change(&mut file["signed"]);
    file["signatures"] = json!([]);
    let mut file = SignedFile::parse(file.to_string().as_bytes())?;
    file.sign(&shop.world.ceremony.open_key("publisher")?)?;
    *timestamp = file.to_bytes()?;
    Ok(())
}

#[test]
fn row_39_metadata_that_is_not_the_next_publication_is_refused_and_nothing_is_stored() -> Result<()>
{
    let shop = Shop::open()?;
    let ceremony = &shop.world.ceremony;
    let image = shop.world.make_image("1.1.0", Behaviour::Work)?;
    let release =
        Release { channel: CHANNEL, version: "1.1.0", security_version: 1, image: &image };
    ceremony.list(&release)?;
    ceremony.publish_here("publisher")?;
    let good = shop.files()?;
    ceremony.refresh_here("publisher")?;
    let leap = shop.files()?;
    ensure!(shop.put_image(&fs::read(&image)?)?.0 == 201, "the image is taken");
    let before = shop.holdings()?;
    for (attack, files, code) in spoilt_publications(&shop, &good, leap)? {
        let answer = shop.publish(&files)?;
        ensure!(answer == (422, code.to_owned()), "{attack}: {answer:?}");
        ensure!(shop.holdings()? == before, "{attack} left something behind");
    }
    let rubbish = shop.send(shop.client.post(shop.url("metadata")).body("rubbish"))?;
    ensure!(rubbish == (400, "bundle_malformed".to_owned()), "{rubbish:?}");
    // Nothing but what was spoilt kept it out.
    let answer = shop.publish(&good)?;
    ensure!(answer.0 == 200, "{answer:?}");
    Ok(())
}

/// Publications that differ in one thing from a good one, with the code of their refusal.
fn spoilt_publications(
    shop: &Shop,
    good: &Files,
    leap: Files,
) -> Result<Vec<(&'static str, Files, &'static str)>> {
    let role = format!("2.{PRODUCT}-{CHANNEL}.json");
    let spoilt = |spoil: &dyn Fn(&mut Files) -> Result<()>| {
        let mut files = good.clone();
        spoil(&mut files).map(|()| files)
    };
    Ok(vec![
        ("a version left out", leap, "metadata_version_gap"),
        ("no signature", spoilt(&|files| unsign(files, &role))?, "metadata_unbelievable"),
        (
            "a foreign role",
            spoilt(&|files| {
                files.insert("1.evil.json".to_owned(), b"{}".to_vec());
                Ok(())
            })?,
            "metadata_unused",
        ),
        (
            "expired",
            spoilt(&|files| {
                forge_timestamp(shop, files, |it| it["expires"] = json!("2020-01-01T00:00:00Z"))
            })?,
            "metadata_unbelievable",
        ),
        (
            "soon expired",
            spoilt(&|files| forge_timestamp(shop, files, expire_in_a_day))?,
            "metadata_expires_soon",
        ),
        (
            "over budget",
            spoilt(&|files| {
                let timestamp = files.get_mut("timestamp.json").context("a timestamp")?;
                timestamp.extend([b' '; 20_000]);
                Ok(())
            })?,
            "metadata_unbelievable",
        ),
        (
            "incomplete",
            spoilt(&|files| files.remove(&role).map(drop).context("it was there"))?,
            "metadata_unbelievable",
        ),
        (
            "signed by a stranger",
            spoilt(&|files| sign_by(shop, files, "standby"))?,
            "metadata_unbelievable",
        ),
    ])
}

fn unsign(files: &mut Files, name: &str) -> Result<()> {
    let bytes = files.get_mut(name).with_context(|| format!("there is {name}"))?;
    let mut file: Value = serde_json::from_slice(bytes)?;
    file["signatures"] = json!([]);
    *bytes = file.to_string().into_bytes();
    Ok(())
}

fn expire_in_a_day(timestamp: &mut Value) {
    // It was made for thirty days.
    let expires = Time::parse(timestamp["expires"].as_str().unwrap()).unwrap();
    let tomorrow = Time::from_seconds(expires.as_seconds() - 29 * 24 * 3600);
    timestamp["expires"] = json!(tomorrow.to_string());
}

/// Signs the timestamp with a key that has nothing to say.
fn sign_by(shop: &Shop, files: &mut Files, key: &str) -> Result<()> {
    let timestamp = files.get_mut("timestamp.json").context("there is a timestamp")?;
    let metadata: Metadata = SignedFile::parse(timestamp)?.metadata()?;
    let mut file = SignedFile::unsigned(&metadata)?;
    file.sign(&shop.world.ceremony.open_key(key)?)?;
    *timestamp = file.to_bytes()?;
    Ok(())
}

/// An image as the build makes it.
fn app(chip: Chip, project: &str, secure_version: u32) -> Result<Vec<u8>> {
    let image = AppBuilder::new(chip).version("1.1.0").project(project);
    Ok(image.secure_version(secure_version).rodata(*b"hello").build()?)
}

/// What `esptool` and `espsecure` say to files in a folder.
struct Judge<'a> {
    folder: &'a Path,
}

impl Judge<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Runs `uploads.py`.
    fn ask(&self, words: &[&str]) -> Result<String> {
        let python = std::env::var_os("WAXWING_PYTHON")
            .context("WAXWING_PYTHON must name a Python with esptool; `cargo xtask test` does")?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("attacks/uploads.py");
        let output = Command::new(python).arg(script).arg(self.folder).args(words).output()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{text}");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

#[test]
fn row_40_forged_firmware_is_refused_whenever_espressifs_tools_refuse_it() -> Result<()> {
    let shop = Shop::open()?;
    let folder = shop.folder.path().join("forged");
    fs::create_dir(&folder)?;
    let judge = Judge { folder: &folder };
    fs::write(judge.path("image.bin"), app(Chip::Esp32c3, PRODUCT, 0)?)?;
    fs::write(judge.path("chip.bin"), app(Chip::Esp32s3, PRODUCT, 0)?)?;
    fs::write(judge.path("project.bin"), app(Chip::Esp32c3, "other", 0)?)?;
    fs::write(judge.path("burnt.bin"), app(Chip::Esp32c3, PRODUCT, 17)?)?;
    let key_digest = judge.ask(&["sign"])?;
    require_secure_boot(&shop, &key_digest)?;
    let good = fs::read(judge.path("image.signed.bin"))?;
    let attacks = forgeries(&judge, &good)?;
    let before = shop.holdings()?;
    for (attack, file, _, code) in &attacks {
        fs::write(judge.path(&format!("attack-{}.bin", attack.replace(' ', "-"))), file)?;
        let answer = shop.put_image(file)?;
        ensure!(answer == (422, (*code).to_owned()), "{attack}: {answer:?}");
    }
    ensure!(shop.holdings()? == before, "something was left behind");
    let verdicts: BTreeMap<String, bool> = serde_json::from_str(&judge.ask(&["judge"])?)?;
    for (attack, _, is_taken, _) in &attacks {
        let verdict = verdicts.get(&format!("attack-{}.bin", attack.replace(' ', "-")));
        ensure!(verdict == Some(is_taken), "{attack}: {verdicts:?}");
    }
    ensure!(verdicts.get("image.signed.bin") == Some(&true), "{verdicts:?}");
    let answer = shop.put_image(&good)?;
    ensure!(answer.0 == 201, "{answer:?}");
    Ok(())
}

/// An attack: its name, the file, whether the tools, which know no product, take it, and what the
/// server says.
type Forgery = (&'static str, Vec<u8>, bool, &'static str);

/// Images that differ in one thing from a good one.
fn forgeries(judge: &Judge<'_>, good: &[u8]) -> Result<Vec<Forgery>> {
    let sector = good.len() - SECTOR;
    let flipped = |at: usize| {
        let mut file = good.to_vec();
        file[at] ^= 1;
        file
    };
    let read = |name: &str| fs::read(judge.path(name));
    Ok(vec![
        ("checksum", flipped(checksum_at(good)), false, "image_malformed"),
        ("hash", flipped(checksum_at(good) + 1), false, "image_malformed"),
        ("content", flipped(300), false, "image_malformed"),
        ("padding", flipped(sector - 1), false, "image_malformed"),
        ("no image", flipped(0), false, "image_malformed"),
        ("cut", good[..good.len() - 1].to_vec(), false, "image_malformed"),
        ("block", flipped(sector), false, "image_malformed"),
        ("crc", flipped(sector + 1196), false, "image_signature_bad"),
        ("signed hash", flipped(sector + 4), false, "image_signature_bad"),
        ("signature", flipped(sector + 900), false, "image_signature_bad"),
        ("resealed", read("resealed.bin")?, false, "image_signature_bad"),
        ("unsigned", read("image.bin")?, false, "image_unsigned"),
        ("other key", read("image.other.bin")?, false, "image_signer_unknown"),
        ("chip", read("chip.signed.bin")?, true, "image_unacceptable"),
        ("project", read("project.signed.bin")?, true, "image_unacceptable"),
        ("burnt", read("burnt.signed.bin")?, true, "image_unacceptable"),
    ])
}

/// Where the checksum lies: the hash of 32 bytes follows, then padding.
fn checksum_at(signed: &[u8]) -> usize {
    let app = waxwing_esp_image::App::parse(signed).unwrap();
    usize::try_from(app.image_bytes).unwrap() - 33
}

/// Registers a key with the product, as an operator would.
fn require_secure_boot(shop: &Shop, key_digest: &str) -> Result<()> {
    let definition = shop.world.ceremony.product_definition();
    let line = format!("secure_boot = {{ required = true, key_digests = [\"{key_digest}\"] }}\n");
    fs::write(&definition, fs::read_to_string(&definition)? + &line)?;
    let definition = definition.to_str().context("the path is UTF-8")?;
    shop.world.operator.ask(&["product", "secure-boot", definition]).map(drop)
}
