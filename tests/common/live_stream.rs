//! One connection to a live server: a client (plain TCP, SASL PLAIN) or a component (XEP-0114).

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use base64::Engine as _;
use sha1::{Digest as _, Sha1};

use super::xml::{CLIENT, Element, Node, Read, Stream};

const STREAMS: &str = "http://etherx.jabber.org/streams";
const COMPONENT: &str = "jabber:component:accept";
const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
const REGISTER: &str = "jabber:iq:register";
const PATIENCE: Duration = Duration::from_secs(10);

/// What a connection brings: whose it is, and a stanza or why there will be no more.
pub(crate) type Brought = (u64, Result<Element, String>);

/// A connection under negotiation, and its writing half afterwards.
pub(crate) struct LiveStream {
    socket: TcpStream,
    stream: Stream,
    /// Read, but not yet asked for.
    ready: Vec<Read>,
    component: bool,
}

impl LiveStream {
    fn open(address: &str, to: &str, component: bool) -> Result<(Self, Element), String> {
        let socket = TcpStream::connect(address).map_err(|why| format!("{address}: {why}"))?;
        socket.set_nodelay(true).map_err(|why| why.to_string())?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(|why| why.to_string())?;
        let mut new = Self { socket, stream: Stream::default(), ready: Vec::new(), component };
        let header = new.header(to)?;
        Ok((new, header))
    }

    /// Opens the stream, or opens it anew.
    fn header(&mut self, to: &str) -> Result<Element, String> {
        self.stream = Stream::default();
        self.ready.clear();
        let ns = if self.component { COMPONENT } else { CLIENT };
        let version = if self.component { "" } else { " version='1.0'" };
        self.write(&format!(
            "<?xml version='1.0'?><stream:stream xmlns='{ns}' xmlns:stream='{STREAMS}' to='{to}'{version}>"
        ))?;
        match self.next()? {
            Read::Opened(header) => Ok(header),
            other => Err(format!("no stream header but {other:?}")),
        }
    }

    fn write(&mut self, text: &str) -> Result<(), String> {
        self.socket.write_all(text.as_bytes()).map_err(|why| format!("the connection broke: {why}"))
    }

    fn next(&mut self) -> Result<Read, String> {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 16_384];
        while self.ready.is_empty() {
            if Instant::now() > deadline {
                return Err("the server is silent".to_owned());
            }
            let count = self.socket.read(&mut buffer).map_err(|why| format!("the connection broke: {why}"))?;
            if count == 0 {
                return Err("the server closed the connection".to_owned());
            }
            self.ready = self.stream.feed(&buffer[..count])?;
        }
        Ok(self.ready.remove(0))
    }

    fn next_stanza(&mut self) -> Result<Element, String> {
        match self.next()? {
            Read::Stanza(element) => Ok(element),
            other => Err(format!("the server sent {other:?} instead of an element")),
        }
    }

    fn expect(&mut self, name: &str) -> Result<Element, String> {
        let element = self.next_stanza()?;
        if element.name == name && element.get("type") != Some("error") {
            return Ok(element);
        }
        Err(format!("expected <{name}/>, got {}", element.write("")))
    }

    /// Makes an account (XEP-0077).
    pub(crate) fn register(address: &str, jid: &str, password: &str) -> Result<(), String> {
        let (user, domain) = jid.split_once('@').ok_or_else(|| format!("{jid} is no account"))?;
        let (mut stream, _) = Self::open(address, domain, false)?;
        stream.expect("features")?;
        let text = |name: &str, value: &str| {
            let mut element = Element::new(REGISTER, name);
            element.nodes.push(Node::Text(value.to_owned()));
            element
        };
        let query = Element::new(REGISTER, "query").with_child(text("username", user));
        let query = query.with_child(text("password", password));
        let iq = Element::stanza("iq").with("type", "set").with("id", "register").with_child(query);
        stream.send(&iq)?;
        stream.expect("iq").map_err(|why| format!("{jid} cannot be registered: {why}"))?;
        stream.close();
        Ok(())
    }

    /// Logs in and binds the resource; no presence is sent.
    pub(crate) fn log_in(address: &str, jid: &str, resource: &str, password: &str) -> Result<Self, String> {
        let (user, domain) = jid.split_once('@').ok_or_else(|| format!("{jid} is no account"))?;
        let (mut stream, _) = Self::open(address, domain, false)?;
        stream.expect("features")?;
        let secret = base64::engine::general_purpose::STANDARD.encode(format!("\0{user}\0{password}"));
        stream.write(&format!("<auth xmlns='{SASL}' mechanism='PLAIN'>{secret}</auth>"))?;
        stream.expect("success").map_err(|why| format!("{jid} cannot log in: {why}"))?;
        stream.header(domain)?;
        stream.expect("features")?;
        let mut wanted = Element::new(BIND, "resource");
        wanted.nodes.push(Node::Text(resource.to_owned()));
        let bind = Element::new(BIND, "bind").with_child(wanted);
        stream.send(&Element::stanza("iq").with("type", "set").with("id", "bind").with_child(bind))?;
        let bound = stream.expect("iq")?;
        let full = bound.child(BIND, "bind").and_then(|bind| bind.child(BIND, "jid")).map(Element::text);
        if full.as_deref() != Some(&format!("{jid}/{resource}")) {
            return Err(format!("{jid}/{resource} was bound as {full:?}"));
        }
        Ok(stream)
    }

    /// Connects as the component `domain`.
    pub(crate) fn component(address: &str, domain: &str, secret: &str) -> Result<Self, String> {
        let (mut stream, header) = Self::open(address, domain, true)?;
        let digest = Sha1::digest(format!("{}{secret}", header.get("id").unwrap_or_default()).as_bytes());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        stream.write(&format!("<handshake>{hex}</handshake>"))?;
        stream.expect("handshake").map_err(|why| format!("{domain} is not let in: {why}"))?;
        Ok(stream)
    }

    pub(crate) fn send(&mut self, stanza: &Element) -> Result<(), String> {
        if self.component {
            let mut stanza = stanza.clone();
            rename(&mut stanza, CLIENT, COMPONENT);
            return self.write(&stanza.write(COMPONENT));
        }
        self.write(&stanza.write(CLIENT))
    }

    /// Sends an IQ to the server and waits for its answer, so that all before it has been handled.
    pub(crate) fn ping(&mut self, domain: &str) -> Result<(), String> {
        let ping = Element::new("urn:xmpp:ping", "ping");
        let iq = Element::stanza("iq").with("type", "get").with("id", "ping").with("to", domain);
        self.send(&iq.with_child(ping))?;
        while self.next_stanza()?.get("id") != Some("ping") {}
        Ok(())
    }

    /// Reads on in a thread of its own; what comes is sent to `sink` under `tag`.
    pub(crate) fn listen(&mut self, tag: u64, sink: Sender<Brought>) -> Result<(), String> {
        let mut socket = self.socket.try_clone().map_err(|why| why.to_string())?;
        socket.set_read_timeout(None).map_err(|why| why.to_string())?;
        let mut stream = std::mem::take(&mut self.stream);
        let mut ready = std::mem::take(&mut self.ready);
        let component = self.component;
        std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            loop {
                for read in ready.drain(..) {
                    let brought = match read {
                        Read::Stanza(mut element) => {
                            if component {
                                rename(&mut element, COMPONENT, CLIENT);
                            }
                            Ok(element)
                        }
                        Read::Opened(_) => continue,
                        Read::Closed => Err("the server closed the stream".to_owned()),
                    };
                    if sink.send((tag, brought)).is_err() {
                        return;
                    }
                }
                let fed = match socket.read(&mut buffer) {
                    Ok(0) => Err("the server closed the connection".to_owned()),
                    Ok(count) => stream.feed(&buffer[..count]),
                    Err(why) => Err(format!("the connection broke: {why}")),
                };
                match fed {
                    Ok(more) => ready = more,
                    Err(why) => {
                        sink.send((tag, Err(why))).ok();
                        return;
                    }
                }
            }
        });
        Ok(())
    }

    pub(crate) fn close(mut self) {
        self.write("</stream:stream>").ok();
        self.socket.shutdown(Shutdown::Write).ok();
    }
}

/// Components speak of stanzas in another namespace.
fn rename(element: &mut Element, from: &str, to: &str) {
    if element.ns == from {
        to.clone_into(&mut element.ns);
    }
    for node in &mut element.nodes {
        if let Node::Element(child) = node {
            rename(child, from, to);
        }
    }
}
