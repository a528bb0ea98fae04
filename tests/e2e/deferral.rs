//! Users who put a restart off, whatever they are told.

use std::fs;

use waxwing_e2e::ceremony::{CHANNEL, PRODUCT, Plan};
use waxwing_e2e::fleet::Batch;
use waxwing_e2e::image::{self, Behaviour, Recipe};
use waxwing_e2e::world::{EVERYBODY, World};

#[test]
fn users_put_a_restart_off_as_often_as_the_plan_says_and_then_it_is_forced() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan { worthless_keys: true, ..Plan::default() };
    let world = World::create_as(folder.path(), plan).unwrap();
    let image = |version| {
        let path = folder.path().join(version);
        let recipe = Recipe { version, behaviour: Behaviour::Work, code_bytes: 60_000 };
        fs::write(&path, image::make(recipe).unwrap()).unwrap();
        path
    };
    let names = ["th1-0001".to_owned(), "th1-0002".to_owned()];
    let batch = Batch { names: &names, profile: Some("defer"), ..Batch::default() };
    let tokens = world.register_all(&names).unwrap();
    let mut fleet = world.start_with(&batch, &tokens, &image("1.0.0")).unwrap();
    world.publish("1.1.0", 1, &image("1.1.0")).unwrap();
    let create = ["rollout", "create", "--product", PRODUCT, "--channel", CHANNEL];
    let what = ["--release", "1.1.0", "--group", EVERYBODY, "--soak", "1s"];
    for (id, deferrals) in
        [("r-past", &["--deferrable", "2"][..]), ("r-none", &["--deferrable", "0"])]
    {
        let past = ["--id", id, "--deferrable-until", "2026-01-01T00:00:00Z"];
        let refused = world.operator.is_refused(&[&create[..], &what, &past, deferrals].concat());
        assert!(refused.unwrap().contains("urgency.deferrable"), "{id}");
    }
    let deferrals = ["--id", "r-1", "--deferrable", "2"];
    world.operator.ask(&[&create[..], &what, &deferrals].concat()).unwrap();
    world.operator.ask(&["rollout", "start", "r-1"]).unwrap();
    fleet.wait_for_many(2, |event| event.is_acknowledged("r-1", "healthy")).unwrap();

    let deployments = world.operator.ask(&["rollout", "deployments", "r-1"]).unwrap();
    for device in &names {
        let all = deployments.as_array().unwrap();
        let it = all.iter().find(|it| it["device"] == *device.as_str()).unwrap();
        assert_eq!(
            (&it["state"], &it["deferred"], &it["tries"]),
            (&"healthy".into(), &2.into(), &1.into()),
            "{it}"
        );
    }
    assert_eq!(world.recount("r-1").unwrap()["equal"], true);
}
