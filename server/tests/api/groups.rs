//! `/api/v1/groups`.

use axum::http::Method;
use serde_json::{Value, json};

use crate::rollouts::rollout;
use crate::support::Api;

#[tokio::test]
async fn a_group_lists_devices_or_tags_and_survives_a_restart() {
    let (api, _) = Api::with_fleet(3).await;
    let new = json!({"id": "two", "product": "th1", "devices": ["d-1", "d-2"]});
    let made = api.post("groups", new.clone()).await.ok();
    assert_eq!((&made["devices"], &made["tags"]), (&json!(["d-1", "d-2"]), &json!(null)));
    api.post("groups", new).await.refused(409, "group_exists", Some("id"));
    let api = api.restarted().await;
    assert_eq!(api.get("groups/two").await.ok(), made);
    assert_eq!(api.get("groups?after=all").await.ok()["items"], json!([made]));
    assert_eq!(api.app.fleet.members_of(&"two".parse().unwrap()).len(), 2);
    assert_eq!(api.app.fleet.members_of(&"all".parse().unwrap()).len(), 3);
}

#[tokio::test]
async fn groups_that_make_no_sense_are_refused_by_field() {
    let (api, _) = Api::with_fleet(1).await;
    let stranger = json!({"id": "g", "product": "th1", "devices": ["d-9"]});
    api.post("groups", stranger).await.refused(422, "unknown_device", Some("devices"));
    let product = json!({"id": "g", "product": "none", "tags": {}});
    api.post("groups", product).await.refused(422, "unknown_product", Some("product"));
    let both = json!({"id": "g", "product": "th1", "tags": {}, "devices": []});
    api.post("groups", both).await.refused(422, "invalid_group", Some("devices"));
    let neither = json!({"id": "g", "product": "th1"});
    api.post("groups", neither).await.refused(422, "invalid_group", Some("devices"));
    let three = json!({"id": "g", "product": "th1", "tags": {}, "query": "tag==a"});
    api.post("groups", three).await.refused(422, "invalid_group", Some("devices"));
    let reserved = json!({"id": "preview", "product": "th1", "query": "tag==a"});
    api.post("groups", reserved).await.refused(422, "invalid_group", Some("id"));
    api.get("groups/none").await.refused(404, "unknown_group", None);
}

#[tokio::test]
async fn a_query_is_refused_with_the_place_that_is_wrong() {
    let (api, _) = Api::with_fleet(0).await;
    let new = json!({"id": "g", "product": "th1", "query": "tag==a;nmae==b"});
    let answer = api.post("groups", new).await;
    assert_eq!(answer.json["position"], 7);
    assert!(answer.json["detail"].as_str().unwrap().contains("unknown field `nmae`"));
    answer.refused(422, "query_refused", Some("query"));
    let answer = api.get("groups/preview?query=version%3D%3D1.2").await;
    assert_eq!(answer.json["position"], 9);
    answer.refused(422, "query_refused", Some("query"));
    api.get("groups/preview?query=tag%3D%3Da&product=none").await.refused(
        404,
        "unknown_product",
        None,
    );
    api.get("groups/preview?query=tag%3D%3Da&limit=0").await.refused(
        400,
        "invalid_query",
        Some("limit"),
    );
    api.get("groups/preview").await.refused(400, "invalid_query", None);
}

#[tokio::test]
async fn a_preview_says_whom_a_query_finds_and_what_each_part_of_it_does() {
    let (api, _) = Api::with_fleet(5).await;
    api.put("devices/d-3/tags/canary", json!({})).await.ok();
    api.poll_with(4, "1.0.0").await;
    let query = "controllerId!=d-0 and (tag==canary or metadata.n==1) and version<1.1.0";
    let found = preview(&api, query, "").await;
    assert_eq!(found["query"], "device!=d-0;(tag==canary,tag.n==1);version=lt=1.1.0");
    assert_eq!(
        (&found["count"], &found["of"], &found["next"]),
        (&json!(2), &json!(5), &json!(null))
    );
    let terms: Vec<_> = found["terms"].as_array().unwrap().iter().map(|it| &it["count"]).collect();
    assert_eq!(terms, [4, 1, 1, 4]);
    assert_eq!(ids(&found), ["d-1", "d-3"]);
    assert_eq!(found["devices"][1]["tags"], json!({"n": "3", "canary": ""}));
    assert_eq!(found["devices"][1]["version"], "1.0.0");
    let first = preview(&api, "device==*", "&limit=3").await;
    assert_eq!(ids(&first), ["d-0", "d-1", "d-2"]);
    let second = preview(&api, "device==*", &format!("&limit=3&after={}", first["next"])).await;
    assert_eq!((ids(&second), &second["next"]), (vec!["d-3".into(), "d-4".into()], &json!(null)));
}

#[tokio::test]
async fn a_group_of_a_query_follows_its_devices_and_survives_a_restart() {
    let (api, _) = Api::with_fleet(3).await;
    let query = "tag==canary;attribute.region=in=(eu,uk);version=ge=1.0.0";
    let made = api.post("groups", json!({"id": "g", "product": "th1", "query": query})).await.ok();
    assert_eq!((&made["query"], &made["tags"]), (&json!(query), &json!(null)));
    let members = |api: &Api| {
        let members = api.app.fleet.members_of(&"g".parse().unwrap());
        members.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    api.put("devices/d-1/tags/canary", json!({"value": "first"})).await.ok();
    api.put("devices/d-1/attributes", json!({"region": "EU"})).await.ok();
    assert!(members(&api).is_empty());
    api.poll_with(3, "1.0.0").await;
    assert_eq!(members(&api), ["d-1"]);
    assert_eq!(api.app.fleet.member_count(&"g".parse().unwrap()), 1);
    assert_eq!(api.app.fleet.member_count(&"none".parse().unwrap()), 0);
    let api = api.restarted().await;
    assert_eq!(members(&api), ["d-1"]);
    api.delete("devices/d-1/attributes/region").await.ok();
    assert!(members(&api).is_empty());
    api.put("devices/d-1/attributes/region", json!({"value": "uk"})).await.ok();
    assert_eq!(members(&api).len(), 1);
    api.act("devices/d-1/revoke").await.ok();
    assert!(members(&api).is_empty(), "a revoked device can take no part");
}

#[tokio::test]
async fn a_device_that_joins_a_group_is_offered_what_the_group_gets_by_a_later_decision() {
    let (api, _) = Api::with_fleet(4).await;
    let query = "tag==canary;version=lt=1.1.0";
    api.post("groups", json!({"id": "g", "product": "th1", "query": query})).await.ok();
    let mut new = rollout("r-1");
    (new["group"], new["plan"]) = (json!("g"), json!({}));
    api.put("devices/d-0/tags/canary", json!({})).await.ok();
    api.poll_with(1, "1.0.0").await;
    api.post("rollouts", new).await.ok();
    api.act("rollouts/r-1/start").await.ok();
    api.poll_with(1, "1.0.0").await;
    assert_eq!(["d-0", "d-1"].map(|device| api.offered(device).is_some()), [true, false]);
    // Another change, later than the start: from here on only a later decision counts (D3).
    api.put("devices/d-1/tags/canary", json!({})).await.ok();
    assert_eq!(api.offered("d-1"), None, "no version is known");
    let before = decided_at(&api, "d-1");
    api.poll_with(2, "1.0.0").await;
    assert_eq!(api.offered("d-1"), None, "it has joined, and has no place yet");
    api.poll_with(2, "1.0.0").await;
    assert!(api.offered("d-1").is_some());
    let joined = decided_at(&api, "d-1");
    assert!(joined > before, "{joined} {before}");
    // It begins, runs the new version, and is no member any more; but it goes on to the end.
    api.poll_with(2, "1.0.0").await;
    api.poll_with(2, "1.1.0").await;
    assert_eq!(api.app.fleet.member_count(&"g".parse().unwrap()), 0);
    assert!(api.offered("d-1").is_some());
    let counts = api.get("rollouts/r-1").await.ok()["counts"].clone();
    assert_eq!((&counts["offered"], &counts["waiting"]), (&json!(2), &json!(0)));
    let left = decided_at(&api, "d-1");
    assert!(left > joined);
    assert_eq!(decided_at(&api.restarted().await, "d-1"), left, "it survives a restart");
}

#[tokio::test]
async fn a_device_that_is_registered_into_the_group_of_a_running_rollout_is_waited_for() {
    let (api, _) = Api::with_fleet(1).await;
    api.put("devices/d-0/tags/canary", json!({})).await.ok();
    api.post("groups", json!({"id": "g", "product": "th1", "query": "tag==canary"})).await.ok();
    let mut new = rollout("r-1");
    (new["group"], new["plan"]) = (json!("g"), json!({}));
    api.post("rollouts", new).await.ok();
    api.act("rollouts/r-1/start").await.ok();
    let waiting = async || api.get("rollouts/r-1").await.ok()["counts"]["waiting"].clone();
    assert_eq!(waiting().await, 1);
    for (id, tags) in [("d-7", json!({"canary": ""})), ("d-8", json!({"beta": ""}))] {
        api.post("devices", json!({"id": id, "product": "th1", "tags": tags})).await.ok();
    }
    assert_eq!(waiting().await, 2);
    let standing = async |device: &str| {
        let asked = api.get(&format!("devices/{device}/standing")).await.ok();
        asked["rollouts"][0]["standing"].clone()
    };
    assert_eq!([standing("d-7").await, standing("d-8").await], ["waits", "not_meant"]);
    api.delete("devices/d-7/tags/canary").await.ok();
    assert_eq!((waiting().await, standing("d-7").await), (json!(1), json!("not_meant")));
}

#[tokio::test]
async fn many_devices_are_labelled_at_once_or_none_is() {
    let (api, _) = Api::with_fleet(3).await;
    let labels = json!({"query": "tag.n=in=(0,2)", "product": "th1", "set_tags": {"canary": ""},
        "remove_tags": ["n"], "set_attributes": {"region": "eu"}});
    let answer = api.post("labels", labels.clone()).await.ok();
    assert_eq!(answer, json!({"devices": 2, "changed": 2}));
    assert_eq!(
        ids(&preview(&api, "tag==canary;tag!=n;attribute.region==eu", "").await),
        ["d-0", "d-2"]
    );
    assert_eq!(
        api.post("labels", labels).await.ok()["devices"],
        0,
        "they have no such tag any more"
    );
    let listed = json!({"devices": ["d-0", "d-1"], "set_tags": {"canary": ""}});
    assert_eq!(api.post("labels", listed).await.ok(), json!({"devices": 2, "changed": 1}));
    let tags: serde_json::Map<_, _> = (0..16).map(|n| (format!("t{n}"), json!(""))).collect();
    api.put("devices/d-1/tags", Value::Object(tags)).await.ok();
    let one_more = json!({"query": "device==*", "set_tags": {"more": ""}});
    api.post("labels", one_more).await.refused(422, "invalid_tags", Some("tags"));
    assert_eq!(preview(&api, "tag==more", "").await["count"], 0);
    for (labels, field) in [
        (json!({"set_tags": {"a": ""}}), "devices"),
        (json!({"devices": ["d-0"], "query": "tag==a"}), "devices"),
    ] {
        api.post("labels", labels).await.refused(422, "invalid_labels", Some(field));
    }
    let stranger = json!({"devices": ["d-9"], "set_tags": {"a": ""}});
    api.post("labels", stranger).await.refused(404, "unknown_device", Some("devices"));
    let line = &api.get("audit?limit=1000").await.ok()["items"];
    let labelled = |line: &&Value| line["action"] == "devices_labelled";
    let lines: Vec<_> = line.as_array().unwrap().iter().filter(labelled).collect();
    assert!(
        lines
            .iter()
            .any(|it| it["detail"]["query"] == "tag.n=in=(0,2)" && it["detail"]["changed"] == 2)
    );
}

#[tokio::test]
async fn labels_that_no_query_could_ask_for_are_refused() {
    let (api, _) = Api::with_fleet(1).await;
    api.put("devices/d-0/tags/a%20b", json!({})).await.refused(422, "invalid_tags", Some("tags"));
    let long = json!({"value": "x".repeat(129)});
    let answer = api.put("devices/d-0/attributes/k", long).await;
    answer.refused(422, "invalid_attributes", Some("attributes"));
    api.put("devices/d-9/attributes/k", json!({"value": "x"})).await.refused(
        404,
        "unknown_device",
        None,
    );
    let lines = api.get("audit?limit=1000").await.ok();
    api.put("devices/d-0/attributes/k", json!({"value": "x"})).await.ok();
    let more = api.get("audit?limit=1000").await.ok();
    let count = |page: &Value| page["items"].as_array().unwrap().len();
    assert_eq!(count(&more), count(&lines) + 1, "what is refused leaves no line");
    let described =
        more["items"].as_array().unwrap().iter().find(|it| it["action"] == "device_described");
    assert_eq!(described.unwrap()["detail"], json!({"attributes": {"k": "x"}}));
}

fn decided_at(api: &Api, device: &str) -> u64 {
    let device = device.parse().unwrap();
    api.app.fleet.decide(&device, 1).unwrap().decided_at_ms
}

async fn preview(api: &Api, query: &str, more: &str) -> Value {
    let encode = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    };
    let query: String = query.bytes().map(encode).collect();
    api.call(Method::GET, &format!("groups/preview?query={query}{more}"), Vec::new()).await.ok()
}

fn ids(found: &Value) -> Vec<String> {
    let devices = found["devices"].as_array().unwrap().iter();
    devices.map(|device| device["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_group_is_edited_unless_a_rollout_that_is_not_over_is_for_it() {
    let (api, _) = Api::with_fleet(3).await;
    let edit = async |id: &str, body: Value| {
        let path = format!("groups/{id}");
        api.call(Method::PATCH, &path, body.to_string().into_bytes()).await
    };
    let new = json!({"id": "g", "product": "th1", "query": "tag.n==0", "description": "first"});
    let made = api.post("groups", new).await.ok();
    assert_eq!(made["description"], "first");
    let edited = edit("g", json!({"query": "tag.n=in=(0,1)"})).await.ok();
    assert_eq!(
        (&edited["query"], &edited["description"]),
        (&json!("tag.n=in=(0,1)"), &json!("first"))
    );
    assert_eq!(api.app.fleet.member_count(&"g".parse().unwrap()), 2);
    let listed = edit("g", json!({"devices": ["d-2"], "description": ""})).await.ok();
    assert_eq!((&listed["devices"], &listed["query"]), (&json!(["d-2"]), &json!(null)));
    let api_restarted = edit("g", json!({"tags": {"n": "1"}})).await.ok();
    assert_eq!(api_restarted["tags"], json!({"n": "1"}));

    for (body, code, field) in [
        (json!({"query": "nmae==b"}), "query_refused", "query"),
        (json!({"query": "tag==a", "tags": {}}), "invalid_group", "devices"),
        (json!({"devices": ["d-9"]}), "unknown_device", "devices"),
        (json!({"description": "x".repeat(501)}), "invalid_group", "description"),
        (json!({"description": "two\nlines"}), "invalid_group", "description"),
    ] {
        edit("g", body).await.refused(422, code, Some(field));
    }
    edit("g", json!({"id": "h"})).await.refused(400, "invalid_json", Some("id"));
    edit("none", json!({"description": "x"})).await.refused(404, "unknown_group", None);

    let mut plan = rollout("r-1");
    plan["plan"] = json!({"phases": [{"size": {"group": "g"}}, {"size": {"percent": 100}}]});
    api.post("rollouts", plan).await.ok();
    for state in ["draft", "running"] {
        for group in ["g", "all"] {
            let answer = edit(group, json!({"query": "device==*"})).await;
            answer.refused(409, "group_in_use", None);
        }
        edit("g", json!({"description": state, "tags": {"n": "1"}})).await.ok();
        api.act("rollouts/r-1/start").await;
    }
    api.act("rollouts/r-1/cancel").await.ok();
    edit("g", json!({"query": "device==*"})).await.ok();
    let audit = api.get("audit").await.ok().to_string();
    assert!(audit.contains("group_edited") && audit.contains("tag.n=in=(0,1)"), "{audit}");
    let api = api.restarted().await;
    let group = api.get("groups/g").await.ok();
    assert_eq!((&group["query"], &group["description"]), (&json!("device==*"), &json!("running")));
    assert_eq!(api.app.fleet.member_count(&"g".parse().unwrap()), 3);
}

#[tokio::test]
async fn a_query_that_is_too_long_for_an_address_is_previewed_by_its_body() {
    let (api, _) = Api::with_fleet(3).await;
    let values: Vec<_> = (0..500).map(|n| n.to_string()).collect();
    let query = format!("tag.n=in=({})", values.join(","));
    let found = api.post("groups/preview", json!({"query": query, "limit": 2})).await.ok();
    assert_eq!((&found["count"], ids(&found).len()), (&json!(3), 2));
    api.post("groups/preview", json!({"query": "nmae==b"})).await.refused(
        422,
        "query_refused",
        Some("query"),
    );
    api.post("groups/preview", json!({})).await.refused(400, "invalid_json", Some("query"));
}
