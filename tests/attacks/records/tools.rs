//! Row 55 for `waxwing` and `waxwing-keys`: what others can read of them while they hold their secrets,
//! and what they say when something goes wrong.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use waxwing_e2e::ceremony::{Destination, PASSPHRASE};
use waxwing_e2e::image::Behaviour;
use waxwing_e2e::server::Listener;
use waxwing_e2e::world::World;

use super::secrets::{Secret, characters, files, process};

/// Programs that wait for a server which says nothing, and are hung up on.
struct Trap {
    silent: TcpListener,
    secrets: Vec<Secret>,
}

impl Trap {
    /// Runs a program that has taken in its secrets once it asks the server.
    fn check(&self, mut command: Command, stdin: &str, sign: &str) {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Whatever a library would say, it says.
        let mut child = command.env("RUST_LOG", "trace").spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let (connection, _) = self.silent.accept().unwrap();
        let seen = process(child.id());
        drop(connection);
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success(), "{command:?} went well without a server");
        let said = characters(&[output.stdout, output.stderr].concat());
        assert!(seen.contains(sign) && seen.contains("RUST_LOG"), "{seen}");
        assert!(!said.is_empty(), "{command:?} says what went wrong");
        for secret in &self.secrets {
            assert!(!secret.is_in(&seen), "{} is in arguments or environment", secret.name);
            assert!(!secret.is_in(&said), "{} is in what is said: {said}", secret.name);
        }
    }
}

#[test]
fn row_55_tools_at_work_show_no_secret_in_arguments_environment_or_messages() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::create(folder.path(), false).unwrap();
    let image = world.make_image("1.0.0", Behaviour::Work).unwrap();
    world.publish("1.0.0", 1, &image).unwrap();
    let (ca, token) = (world.server.ca(), world.server.token());
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    let secrets = vec![
        Secret::text("passphrase", PASSPHRASE),
        Secret::text("admin token", &fs::read_to_string(&token).unwrap()),
    ];
    let trap = Trap { silent, secrets };

    let to = Destination { url: &url, ca: &ca, token: &token };
    let publish = world.ceremony.publish_command(&to).unwrap();
    trap.check(publish, &format!("{PASSPHRASE}\n{PASSPHRASE}\n"), "--passphrase-fd");

    let mut login = world.operator.command(&["login", &url]).unwrap();
    login.arg("--ca").arg(&ca).arg("--token-file").arg(&token);
    trap.check(login, "", "--token-file");

    // From then on the token is in the profile.
    let profiles = files(folder.path()).into_iter();
    let profiles = profiles.filter(|path| path.to_string_lossy().contains("/profiles/"));
    for profile in profiles {
        let text = fs::read_to_string(&profile).unwrap();
        let elsewhere = text.replace(&world.server.url(Listener::Admin), &url);
        assert_ne!(text, elsewhere);
        fs::write(&profile, elsewhere).unwrap();
    }
    trap.check(world.operator.command(&["device", "list"]).unwrap(), "", "list");
}
