//! Data forms and result sets: the input is put where forms stand in requests.
#![cfg_attr(fuzzing, no_main)]

use pam_pps::forms::Form;
use pam_pps::rsm::Query;
use pam_pps::xml::{Document, Limits};
use pam_pps_fuzz::server::Server;

pam_pps_fuzz::target!("forms", read);

fn read(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let wrapped = format!("<w>{text}</w>");
    if let Ok(document) = Document::parse(&wrapped, &Limits::default()) {
        if let Ok(form) = Form::child_of(document.root()) {
            let _ = (form.form_type(), form.value("pubsub#access_model"), form.values("pubsub#contact"));
            assert!(form.fields().all(|(var, _)| form.values(var).is_some()), "a field is listed and not found");
        }
        let _ = Query::child_of(document.root());
    }
    let mut server = Server::new("rooms");
    let mut ask = |kind: &str, owner: &str, inside: String| {
        server.stanza(format!(
            "<iq type='{kind}' id='1' from='juliet@a.example/r'>\
             <pubsub xmlns='http://jabber.org/protocol/pubsub{owner}'>{inside}</pubsub></iq>"
        ));
    };
    let item = "<item id='i'><x xmlns='urn:x'/></item>";
    ask("set", "", format!("<create node='n'/><configure>{text}</configure>"));
    ask("set", "", format!("<publish node='n'>{item}</publish><publish-options>{text}</publish-options>"));
    ask("set", "", format!("<publish node='m'>{item}</publish><publish-options>{text}</publish-options>"));
    ask("set", "#owner", format!("<configure node='m'>{text}</configure>"));
    ask("set", "", format!("<subscribe node='m' jid='juliet@a.example'/><options>{text}</options>"));
    ask("set", "", format!("<options node='m' jid='juliet@a.example'>{text}</options>"));
    ask("get", "", format!("<items node='m'/>{text}"));
    ask("get", "#owner", "<configure node='m'/>".to_owned());
    ask("get", "", "<options node='m' jid='juliet@a.example'/>".to_owned());
}
