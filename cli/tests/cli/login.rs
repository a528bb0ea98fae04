//! Who is trusted, who is let in, and where the token is kept.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::world::{Run, TOKEN, World};

#[test]
fn login_keeps_a_profile_that_only_its_owner_can_read() {
    let world = World::logged_in();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(world.profile()), 0o600);
    assert_eq!(mode(world.profile().parent().unwrap().to_owned()), 0o700);
    assert_eq!(world.server.requests()[0].authorization, format!("Bearer {TOKEN}"));
}

#[test]
fn the_token_is_never_printed_and_never_an_argument() {
    let world = World::logged_in();
    let run = world.login(TOKEN);
    assert!(!format!("{run:?}").contains(TOKEN));
    assert_eq!(world.run(&["login", "https://a.example", "--token", TOKEN]).code, 2);
}

#[test]
fn a_refused_token_is_not_kept() {
    let world = World::new();
    let problem =
        json!({ "title": "Unauthorized", "code": "token_unknown", "detail": "No such token." });
    world.server.on("GET /products?limit=1", (401, problem));
    let run = world.login("wrong");
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("No such token. [401 token_unknown]"), "{}", run.stderr);
    assert!(run.stderr.contains("next: log in again"), "{}", run.stderr);
    assert!(!world.profile().exists());
}

#[test]
fn a_server_of_another_ca_never_sees_the_token() {
    let world = World::logged_in();
    let ca = world.file("other-ca.pem", &World::new().server.ca);
    let mut command = world.command(&["login", &world.url(), "--ca", ca.to_str().unwrap()]);
    // Even one that the whole system trusts.
    command.env("SSL_CERT_FILE", world.file("system-ca.pem", &world.server.ca));
    let run = Run::of(command, TOKEN);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("log in again with the --ca of this server"), "{}", run.stderr);
    assert_eq!(world.server.requests().len(), 1, "only the first login arrived");
}

#[test]
fn public_certificate_authorities_are_trusted_only_when_asked_for() {
    let world = World::new();
    world.server.on("GET /products?limit=1", (200, json!({ "items": [], "next": null })));
    let login = |options: &[&str]| {
        let url = world.url();
        let mut command = world.command(&[&["login", &url], options].concat());
        command.env("SSL_CERT_FILE", world.file("system-ca.pem", &world.server.ca));
        Run::of(command, TOKEN)
    };
    let run = login(&[]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("--ca <FILE>"), "{}", run.stderr);
    assert_eq!(login(&["--public-roots"]).code, 0);
}

#[test]
fn plain_http_is_refused_before_anything_is_sent() {
    let world = World::new();
    let ca = world.file("ca.pem", &world.server.ca);
    let url = world.url().replace("https", "http");
    let run = world.run_with_input(&["login", &url, "--ca", ca.to_str().unwrap()], TOKEN);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("begins with https://"), "{}", run.stderr);
}

#[test]
fn a_ca_file_without_a_certificate_is_refused() {
    let world = World::new();
    let ca = world.file("ca.pem", "not a certificate");
    let run = world.run(&["login", "https://127.0.0.1:9", "--ca", ca.to_str().unwrap()]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("no PEM certificate"), "{}", run.stderr);
}

#[test]
fn a_profile_that_others_can_read_is_refused() {
    let world = World::logged_in();
    fs::set_permissions(world.profile(), Permissions::from_mode(0o640)).unwrap();
    let run = world.run(&["product", "list"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("chmod 600"), "{}", run.stderr);
}

#[test]
fn without_a_profile_the_next_step_is_to_log_in() {
    let run = World::new().run(&["--profile", "factory", "product", "list"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("no profile factory"), "{}", run.stderr);
    assert!(run.stderr.contains("next: `waxwing login"), "{}", run.stderr);
}

#[test]
fn a_profile_name_cannot_leave_its_folder() {
    let run = World::new().run(&["--profile", "../../x", "product", "list"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("letters, digits and -"), "{}", run.stderr);
}

#[test]
fn the_token_does_not_follow_a_redirect() {
    let world = World::logged_in();
    world.server.on("GET /devices/d1", (307, json!(null)));
    assert_eq!(world.run(&["device", "show", "d1"]).code, 1);
    assert_eq!(world.server.requests().len(), 2, "nobody asked elsewhere");
}
