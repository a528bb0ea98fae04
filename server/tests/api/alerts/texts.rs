//! Text messages: what docs/alerts.md shows does what it says.

use std::process::Command;

use serde_json::{Value, json};

use super::{halt, look, subscribe, told};
use crate::support::Api;

/// Returns the first Python of a page.
fn python(page: &str) -> &str {
    let (_, rest) = page.split_once("```python\n").unwrap();
    rest.split_once("```").unwrap().0
}

#[tokio::test]
async fn document_003_an_alert_comes_as_a_text_message_through_any_gateway() {
    let (api, _) = Api::with_fleet(3).await;
    let webhook = subscribe(&api).await;
    halt(&api, "r-1").await;
    look(&api).await;
    api.act("rollouts/r-1/cancel").await.ok();
    look(&api).await;
    let messages = told(&api, &webhook).await;
    let judge = format!(
        "import json, sys, types, urllib.request\n\
         def module(name, code):\n    module = sys.modules[name] = types.ModuleType(name)\n    \
         exec(code, module.__dict__)\n    return module\n\
         module('receiver', {receiver})\nsms = module('sms', {sms})\nsent = []\n\
         urllib.request.urlopen = lambda request, timeout: (sent.append(request), open('/dev/null'))[1]\n\
         [sms.send(message) for message in json.loads({messages})]\n\
         print(json.dumps([[it.full_url, it.headers, json.loads(it.data)] for it in sent]))",
        receiver = Value::from(python(include_str!("../../../../docs/webhooks.md"))),
        sms = Value::from(python(include_str!("../../../../docs/alerts.md"))),
        messages = Value::from(json!(messages).to_string()),
    );
    let python = std::env::var_os("WAXWING_PYTHON").unwrap_or_else(|| "python3".into());
    let output = Command::new(python)
        .args(["-c", &judge])
        .env("SMS_URL", "https://sms.example/send")
        .env("SMS_TO", "+491701234567")
        .env("SMS_TOKEN", "t0ken")
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    let sent: Value = serde_json::from_slice(&output.stdout).expect(&complaint);
    let text = "critical rollout/r-1: the rollout stopped itself";
    let words = [text.to_owned(), format!("OVER: {text}")];
    for (sent, text) in sent.as_array().unwrap().iter().zip(words) {
        assert_eq!(sent[0], "https://sms.example/send");
        assert_eq!(sent[1]["Authorization"], "Bearer t0ken");
        assert_eq!(sent[2], json!({"to": "+491701234567", "text": text}));
    }
    assert_eq!(sent.as_array().unwrap().len(), 2);
}
