//! One stanza, or several with a NUL between them, given to an engine that has a node already.
#![cfg_attr(fuzzing, no_main)]

use pam_pps_fuzz::server::Server;

pam_pps_fuzz::target!("stanza", handle);

fn handle(data: &[u8]) {
    let mut server = Server::new("false");
    server.stanza(
        "<iq type='set' id='1' from='juliet@a.example/r'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
         <publish node='n'><item id='i'><x xmlns='urn:x'/></item></publish></pubsub></iq>",
    );
    for stanza in String::from_utf8_lossy(data).split('\0').take(16) {
        server.stanza(stanza);
    }
    server.pass(100_000);
}
