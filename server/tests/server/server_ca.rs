//! Another server CA while the server runs: checked before it is shown, and nobody is cut off.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio_rustls::TlsConnector;
use waxwing_server::app::App;
use waxwing_server::random::SystemRandom;
use waxwing_server::{server_ca, setup};

use crate::support::{Folder, Server, tls};

#[tokio::test]
async fn a_new_server_ca_is_shown_to_new_connections_and_open_ones_stay() {
    let folder = Folder::new();
    let server = folder.start().await;
    let mut open = server.connect(server.enrol(), None).await.unwrap();
    let before = server.connector(None);
    let new = make_ca(&folder);
    server_ca::look(&server.running.app);
    assert!(tls(&before, server.enrol()).await.is_ok(), "nothing has changed yet");
    install(&new, &folder);
    server_ca::look(&server.running.app);
    assert!(tls(&trusting(&new), server.enrol()).await.is_ok());
    assert!(tls(&before, server.enrol()).await.is_err());
    assert_eq!(open.get("/.well-known/est/cacerts").await.status, 200);
    let published = fs::read(folder.data().join("server-ca.pem")).unwrap();
    assert_eq!(published, fs::read(new.join("server-ca.pem")).unwrap());
    check_counted(&server, "done", 1).await;
    // The next start, and the renewal of the certificate, are of the new one.
    server.running.stop().await;
    let server = folder.start().await;
    assert!(tls(&trusting(&new), server.enrol()).await.is_ok());
}

/// What somebody does to the files of a new server CA.
type Damage = fn(&Path);

#[tokio::test]
async fn files_that_nobody_would_accept_are_refused_once_and_the_old_ca_stays() {
    let damages: [(&str, Damage); 6] = [
        ("key of another", |new| {
            fs::write(new.join("server-ca.key"), KeyPair::generate().unwrap().serialize_pem())
                .unwrap();
        }),
        ("no certificate", |new| fs::write(new.join("server-ca.pem"), "none").unwrap()),
        ("no key", |new| fs::write(new.join("server-ca.key"), "").unwrap()),
        ("no CA", |new| write(new, |params| params.is_ca = IsCa::ExplicitNoCa)),
        ("expired", |new| write(new, |params| params.not_after = date_time_ymd(2025, 1, 1))),
        ("of the future", |new| write(new, |params| params.not_before = date_time_ymd(2099, 1, 1))),
    ];
    let folder = Folder::new();
    let server = folder.start().await;
    let connector = server.connector(None);
    for (count, (what, damage)) in (1..).zip(damages) {
        let new = make_ca(&folder);
        damage(&new);
        install(&new, &folder);
        for _ in 0..3 {
            server_ca::look(&server.running.app);
        }
        assert!(tls(&connector, server.enrol()).await.is_ok(), "{what}");
        check_counted(&server, "refused", count).await;
    }
    check_counted(&server, "done", 0).await;
}

#[tokio::test]
async fn another_root_does_not_become_the_server_ca() {
    let folder = Folder::new();
    let server = folder.start().await;
    let connector = server.connector(None);
    let secrets = folder.config.secrets_dir();
    for root in ["device-ca", "operator-ca"] {
        for ending in ["key", "pem"] {
            let file = |name: &str| secrets.join(format!("{name}.{ending}"));
            fs::copy(file(root), file("server-ca")).unwrap();
        }
        server_ca::reload(&server.running.app);
        assert!(tls(&connector, server.enrol()).await.is_ok(), "{root}");
    }
    check_counted(&server, "refused", 2).await;
}

#[tokio::test]
async fn a_key_that_others_can_read_is_not_taken_up() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let server = folder.start().await;
    let connector = server.connector(None);
    install(&make_ca(&folder), &folder);
    let key = folder.config.secrets_dir().join("server-ca.key");
    fs::set_permissions(key, fs::Permissions::from_mode(0o640)).unwrap();
    server_ca::look(&server.running.app);
    assert!(tls(&connector, server.enrol()).await.is_ok());
    check_counted(&server, "refused", 1).await;
}

#[tokio::test]
async fn what_may_mend_itself_is_told_once_and_tried_again() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let server = folder.start().await;
    let new = make_ca(&folder);
    install(&new, &folder);
    let key = folder.config.secrets_dir().join("server-ca.key");
    let chmod = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    chmod(0o640);
    for _ in 0..3 {
        server_ca::look(&server.running.app);
    }
    check_counted(&server, "refused", 1).await;
    chmod(0o600);
    server_ca::look(&server.running.app);
    assert!(tls(&trusting(&new), server.enrol()).await.is_ok());
    check_counted(&server, "done", 1).await;
}

#[tokio::test]
async fn a_certificate_that_is_shown_is_not_made_again_while_its_file_cannot_be_written() {
    let folder = Folder::new();
    let server = folder.start().await;
    let new = make_ca(&folder);
    let file = folder.data().join("server-ca.pem");
    fs::remove_file(&file).unwrap();
    fs::create_dir_all(file.join("in the way")).unwrap();
    install(&new, &folder);
    let app = &server.running.app;
    server_ca::look(app);
    assert!(tls(&trusting(&new), server.enrol()).await.is_ok(), "it is shown");
    let shown = app.tls.expires_ms();
    server.clock.advance(std::time::Duration::from_hours(1));
    server_ca::look(app);
    check_counted(&server, "refused", 1).await;
    fs::remove_dir_all(&file).unwrap();
    server_ca::look(app);
    assert_eq!(fs::read(&file).unwrap(), fs::read(new.join("server-ca.pem")).unwrap());
    assert_eq!(app.tls.expires_ms(), shown, "the same certificate");
    check_counted(&server, "done", 1).await;
}

#[tokio::test]
async fn a_server_ca_that_published_pins_leave_out_is_taken_up_by_request_only() {
    let folder = Folder::new();
    let server = folder.start().await;
    let app = &server.running.app;
    let own = fs::read(folder.data().join("server-ca.pem")).unwrap();
    let pins = |pem: Vec<u8>| {
        let files = vec![("trust/server-ca.pem".to_owned(), pem)];
        app.repositories.put("image/th1", files).unwrap();
    };
    pins(own.clone());
    let new = make_ca(&folder);
    install(&new, &folder);
    server_ca::look(app);
    server_ca::look(app);
    assert!(tls(&trusting(&new), server.enrol()).await.is_err());
    check_counted(&server, "refused", 1).await;
    let added = fs::read(new.join("server-ca.pem")).unwrap();
    pins([&own[..], &added].concat());
    server_ca::look(app);
    assert!(tls(&trusting(&new), server.enrol()).await.is_ok(), "pins came");
    let other = make_ca(&folder);
    install(&other, &folder);
    server_ca::reload(app);
    assert!(tls(&trusting(&other), server.enrol()).await.is_ok(), "somebody asked for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_renews_its_own_certificate_long_before_it_ends() {
    let server = Folder::new().start().await;
    let app = &server.running.app;
    let shown = || tokio::task::block_in_place(|| shown_to_openssl(&server));
    let first = shown();
    server_ca::keep_current(app).unwrap();
    assert_eq!(shown(), first, "there is nothing to do");
    server.clock.advance(std::time::Duration::from_hours(276 * 24));
    server_ca::keep_current(app).unwrap();
    assert_ne!(shown(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_all_sessions_never_takes_an_old_server_certificate_back() {
    check_stays(|app| app.tls.end_sessions().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_reloads_at_once_the_later_one_stays() {
    check_stays(server_ca::reload).await;
}

/// Takes up one server CA after the other while a thread does something without a pause.
async fn check_stays(meanwhile: impl Fn(&App) + Send + 'static) {
    let folder = Folder::new();
    let server = folder.start().await;
    let app = Arc::clone(&server.running.app);
    let (done, is_over) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let thread = std::thread::spawn({
        let (app, done, is_over) = (Arc::clone(&app), Arc::clone(&done), Arc::clone(&is_over));
        move || {
            while !is_over.load(Ordering::SeqCst) {
                meanwhile(&app);
                done.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    for round in 0..20 {
        let new = make_ca(&folder);
        install(&new, &folder);
        server_ca::reload(&app);
        // What had begun before the reload has come to its end.
        let until = done.load(Ordering::SeqCst) + 1;
        while done.load(Ordering::SeqCst) < until && !thread.is_finished() {
            tokio::task::yield_now().await;
        }
        assert!(tls(&trusting(&new), server.device()).await.is_ok(), "round {round}");
    }
    is_over.store(true, Ordering::SeqCst);
    thread.join().unwrap();
}

/// The clock of the server is ahead of that of any client; openssl shows what it gets all the same.
fn shown_to_openssl(server: &Server) -> CertificateDer<'static> {
    let output = std::process::Command::new("openssl")
        .args(["s_client", "-connect", &server.enrol().to_string()])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    CertificateDer::from_pem_slice(&output.stdout).unwrap()
}

/// Makes another server CA in a folder of its own.
fn make_ca(folder: &Folder) -> std::path::PathBuf {
    let new = tempfile::tempdir_in(folder.temporary.path()).unwrap().keep();
    let now_ms = waxwing_server::clock::Clock::now_ms(folder.clock.as_ref());
    setup::make_server_ca(&new.join("ca"), &SystemRandom, now_ms).unwrap();
    new.join("ca")
}

/// Puts a server CA where the server looks for it.
fn install(new: &Path, folder: &Folder) {
    for name in ["server-ca.key", "server-ca.pem"] {
        fs::copy(new.join(name), folder.config.secrets_dir().join(name)).unwrap();
    }
}

/// Writes a self-signed certificate with something wrong.
fn write(new: &Path, change: impl FnOnce(&mut CertificateParams)) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    change(&mut params);
    fs::write(new.join("server-ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(new.join("server-ca.key"), key.serialize_pem()).unwrap();
}

fn trusting(ca: &Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let pem = fs::read(ca.join("server-ca.pem")).unwrap();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn check_counted(server: &Server, outcome: &str, count: u32) {
    let url = format!("http://{}/metrics", server.running.addresses.ops);
    let metrics = reqwest::get(url).await.unwrap().text().await.unwrap();
    let line = format!("waxwing_server_ca_reloads_total{{outcome=\"{outcome}\"}} {count}");
    assert!(metrics.lines().any(|other| other == line), "{line} in {metrics}");
}
