//! A real server with a product, its operator, and what an attacker asks it with.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
    date_time_ymd,
};
use reqwest::blocking::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use waxwing_e2e::operator::Operator;
use waxwing_e2e::server::{Listener, Server};

use crate::support::author::{key_id, keys_json, role_json, sign};

/// What openssl makes a key of P-256 with.
pub(crate) const P256: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// A hundred tries at once are to be judged, not cut off as too many of one address.
const LIMITS: &str = "[limits]\nhandshakes_per_source = 200\n";

/// The key that signs the product's root, which plays no part here.
const KEY: u8 = 1;

/// A server with product `th1`.
pub(crate) struct Shop {
    folder: TempDir,
    server: Server,
    operator: Operator,
}

/// A certificate and its key, PEM.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// What the server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Shop {
    pub(crate) fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::create_with(&folder.path().join("server"), LIMITS).unwrap();
        let operator = Operator::log_in(&folder.path().join("operator"), &server).unwrap();
        let shop = Self { folder, server, operator };
        shop.product("th1");
        shop
    }

    /// Registers a product.
    pub(crate) fn product(&self, id: &str) {
        let definition = self.path().join("product.toml");
        let text = "chip = \"esp32c3\"\nhardware = [\"r1\"]\nchannels = [\"stable\"]\n\
                    slot_bytes = 1048576\nimage_version = \"ignore\"\nimage_project = \"ignore\"\n";
        fs::write(&definition, format!("id = \"{id}\"\n{text}")).unwrap();
        let root = self.path().join("1.root.json");
        let role = role_json(1, &[KEY]);
        let signed = json!({
            "_type": "root", "consistent_snapshot": true, "expires": "2035-01-01T00:00:00Z",
            "keys": keys_json(&[KEY]), "repo": format!("image/{id}"), "spec_version": "1.0.34",
            "roles": {"root": role, "snapshot": role, "targets": role, "timestamp": role},
            "version": 1,
        });
        assert!(signed.to_string().contains(&key_id(KEY)));
        fs::write(&root, sign(&signed, &[KEY])).unwrap();
        let [definition, root] = [&definition, &root].map(|path| path.to_str().unwrap());
        self.operator(&["product", "create", definition, "--root", root]);
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Has the operator do something.
    pub(crate) fn operator(&self, arguments: &[&str]) -> Value {
        self.operator.ask(arguments).unwrap()
    }

    /// Registers a device, and returns a token for it.
    pub(crate) fn token(&self, device: &str) -> String {
        self.token_of(device, "th1")
    }

    /// Registers a device of this product, and returns a token for it.
    pub(crate) fn token_of(&self, device: &str, product: &str) -> String {
        self.operator(&["device", "add", device, "--product", product]);
        let answer = self.operator(&["device", "token", device]);
        answer["token"].as_str().unwrap().to_owned()
    }

    /// A device with its first certificate.
    pub(crate) fn enrolled(&self, device: &str) -> Identity {
        self.enrolled_in(device, "th1")
    }

    /// A device of this product with its first certificate.
    pub(crate) fn enrolled_in(&self, device: &str, product: &str) -> Identity {
        let token = self.token_of(device, product);
        let (key, request) = key_and_csr(self.path(), &[]);
        Identity::new(&key, &self.enrol(device, &token, &request).good())
    }

    /// Asks for a certificate with a token.
    pub(crate) fn enrol(&self, device: &str, token: &str, csr: &str) -> Answer {
        self.door().enrol(device, token, csr)
    }

    /// Where certificates are to be had, for many threads at once.
    pub(crate) fn door(&self) -> Door {
        let url = format!("{}/.well-known/est/simpleenroll", self.server.url(Listener::Enrol));
        Door { url, client: self.client(None) }
    }

    /// Asks for the next certificate with a present one.
    pub(crate) fn renew(&self, identity: &Identity, csr: &str) -> Answer {
        let url = format!("{}/.well-known/est/simplereenroll", self.server.url(Listener::Device));
        Answer::of(self.client(Some(identity)).post(url).body(csr.to_owned()))
    }

    /// Asks the device listener for something.
    pub(crate) fn ask(&self, identity: &Identity, path: &str) -> Answer {
        let url = format!("{}{path}", self.server.url(Listener::Device));
        Answer::of(self.client(Some(identity)).get(url))
    }

    /// Asks any listener for anything, with whatever there is to show.
    pub(crate) fn send(
        &self,
        listener: Listener,
        (method, path): (&str, &str),
        identity: Option<&Identity>,
        authorization: Option<&str>,
    ) -> Answer {
        let url = format!("{}{path}", self.server.url(listener));
        let request = self.client(identity).request(method.parse().unwrap(), url).body("{}");
        let request = request.header("content-type", "application/json");
        Answer::of(match authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        })
    }

    /// What an operator shows.
    pub(crate) fn bearer(&self) -> String {
        let token = fs::read_to_string(self.server.token()).unwrap();
        format!("Bearer {}", token.trim())
    }

    /// What openssl gets for a request with this certificate: the status, if there is an answer.
    pub(crate) fn handshake(&self, identity: &Identity) -> Option<u16> {
        let file = self.path().join("identity.pem");
        fs::write(&file, identity.pem()).unwrap();
        let mut child = Command::new("openssl")
            .args(["s_client", "-quiet", "-connect", self.server.address(Listener::Device)])
            .arg("-CAfile")
            .arg(self.server.ca())
            .args([Path::new("-cert"), &file, Path::new("-key"), &file])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let request = b"GET /x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        // Whoever was not let in has nobody to write to.
        let _ = child.stdin.take().unwrap().write_all(request);
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
    }

    /// A certificate of the form that devices have, valid until a year: of the server's device CA,
    /// whose key a test may read, or of another CA of the same name.
    pub(crate) fn forged(&self, device: &str, of_our_ca: bool, until: i32) -> Identity {
        let issuer = if of_our_ca { self.device_ca() } else { another_ca() };
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::ExplicitNoCa;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, device);
        let uri = format!("waxwing:device:{device}");
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) =
            (date_time_ymd(2020, 1, 1), date_time_ymd(until, 1, 1));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }

    fn device_ca(&self) -> Issuer<'static, KeyPair> {
        let secrets = self.server.secrets();
        let read = |name: &str| fs::read_to_string(secrets.join(name)).unwrap();
        let key = KeyPair::from_pem(&read("device-ca.key")).unwrap();
        Issuer::from_ca_cert_pem(&read("device-ca.pem"), key).unwrap()
    }

    fn client(&self, identity: Option<&Identity>) -> Client {
        let ca = fs::read(self.server.ca()).unwrap();
        let ca = reqwest::Certificate::from_pem(&ca).unwrap();
        let builder = Client::builder().tls_certs_only([ca]);
        let builder = match identity {
            Some(identity) => {
                builder.identity(reqwest::Identity::from_pem(identity.pem().as_bytes()).unwrap())
            }
            None => builder,
        };
        builder.build().unwrap()
    }
}

/// A CA that calls itself like the server's device CA.
fn another_ca() -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Waxwing device CA");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    Issuer::new(params, KeyPair::generate().unwrap())
}

/// The enrolment listener.
pub(crate) struct Door {
    url: String,
    client: Client,
}

impl Door {
    pub(crate) fn enrol(&self, device: &str, token: &str, csr: &str) -> Answer {
        let request = self.client.post(&self.url).basic_auth(device, Some(token));
        Answer::of(request.body(csr.to_owned()))
    }
}

impl Identity {
    pub(crate) fn new(key: &str, certificate: &str) -> Self {
        Self { certificate: certificate.to_owned(), key: key.to_owned() }
    }

    fn pem(&self) -> String {
        format!("{}{}", self.certificate, self.key)
    }
}

impl Answer {
    fn of(request: reqwest::blocking::RequestBuilder) -> Self {
        let response = request.send().unwrap();
        Self { status: response.status().as_u16(), body: response.text().unwrap() }
    }

    /// Returns the stable code of a problem.
    pub(crate) fn code(&self) -> String {
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        problem["code"].as_str().unwrap().to_owned()
    }

    /// Takes the certificate out of a PKCS#7 answer, PEM.
    #[track_caller]
    pub(crate) fn good(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.body);
        let text = openssl(&["pkcs7", "-inform", "DER", "-print_certs"], &decoded(&self.body));
        let begin = text.find("-----BEGIN").unwrap();
        text[begin..].trim_end().to_owned() + "\n"
    }
}

/// Makes a certificate request with openssl, in the base64 of EST; its key is thrown away.
pub(crate) fn csr(arguments: &[&str]) -> String {
    let fixed = ["req", "-new", "-nodes", "-subj", "/CN=d-1", "-keyout", "/dev/null"];
    let pem = openssl(&[&fixed[..], arguments].concat(), b"");
    encoded(&pem_content(&pem))
}

/// Makes a key of P-256 and a request for it with openssl: PEM, and the base64 of EST.
pub(crate) fn key_and_csr(folder: &Path, arguments: &[&str]) -> (String, String) {
    let file = tempfile::NamedTempFile::new_in(folder).unwrap();
    let path = file.path().to_str().unwrap();
    let fixed = ["req", "-new", "-nodes", "-subj", "/CN=d-1", "-keyout", path];
    let pem = openssl(&[&fixed[..], P256, arguments].concat(), b"");
    (fs::read_to_string(path).unwrap(), encoded(&pem_content(&pem)))
}

/// Makes a request for a key that there is, PEM.
pub(crate) fn csr_of(key: &str) -> String {
    let key = KeyPair::from_pem(key).unwrap();
    encoded(CertificateParams::default().serialize_request(&key).unwrap().der())
}

/// Makes a key of P-256, PEM, without openssl, for those who need a hundred.
pub(crate) fn new_key() -> String {
    KeyPair::generate().unwrap().serialize_pem()
}

pub(crate) fn encoded(der: &[u8]) -> String {
    STANDARD.encode(der)
}

pub(crate) fn decoded(text: &str) -> Vec<u8> {
    STANDARD.decode(text.split_ascii_whitespace().collect::<String>()).unwrap()
}

fn pem_content(pem: &str) -> Vec<u8> {
    decoded(&pem.lines().filter(|line| !line.starts_with("-----")).collect::<String>())
}

/// Runs openssl on an input and returns its output.
#[track_caller]
pub(crate) fn openssl(arguments: &[&str], input: &[u8]) -> String {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
