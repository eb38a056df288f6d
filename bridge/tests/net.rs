//! The session of zenoh: TLS, access control, open sockets, and the causes of silence.

mod support;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use bridge::net::{Args, Cause, Net};
use clap::Parser;
use support::certificates::Authority;
use support::{free_port, open_sockets, wait_until};
use zenoh::Wait;

/// The options alone, as a command line.
#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn listen(endpoint: &str) -> Args {
    Args { listen: vec![endpoint.to_owned()], ..Args::default() }
}

fn connect(endpoint: &str) -> Args {
    Args { connect: vec![endpoint.to_owned()], ..Args::default() }
}

/// Options with this root certificate.
fn trust(authority: &Authority, args: Args) -> Args {
    Args { tls_ca: Some(authority.certificate()), ..args }
}

/// Options of a listener that demands certificates.
fn demanding(authority: &Authority, endpoint: &str) -> Args {
    let args = trust(authority, listen(endpoint));
    Args { mtls: true, ..authority.identify(args, "localhost") }
}

/// Opens a session, and waits for the other side if it is a client.
fn open(args: &Args) -> Net {
    let start = Instant::now();
    Net::open(args, |_| start.elapsed() < Duration::from_secs(60)).unwrap()
}

/// Returns the options with an address to listen at, which makes the session a peer.
fn peer(args: &Args) -> Args {
    let listen = vec![format!("tcp/127.0.0.1:{}", free_port())];
    Args { listen, mtls: false, ..args.clone() }
}

/// Returns the cause that both a client and a peer with these options find.
fn cause(args: &Args) -> Cause {
    let mut causes = Vec::new();
    let client = Net::open(args, |found| {
        causes = found.to_vec();
        false
    });
    match client {
        Ok(_) => panic!("it opened: {args:?}"),
        Err(error) => assert_eq!(error.to_string(), format!("cannot connect: {}", causes[0])),
    }
    assert_eq!(open(&peer(args)).diagnose(), causes);
    assert_eq!(causes.len(), 1, "{causes:?}");
    causes.remove(0).cause
}

/// Returns the exit code and the message of a session that does not open.
fn refusal(args: &Args) -> (u8, String) {
    match Net::open(args, |_| false) {
        Ok(_) => panic!("it opened: {args:?}"),
        Err(error) => (error.code(), error.to_string()),
    }
}

/// Waits until one value passes from a queryable of `from` to `to`.
fn assert_carries(from: &Net, to: &Net) {
    let key = "tablecast/a/t/changes/0";
    let answer = from.session().declare_queryable(key).callback(move |query| {
        query.reply(key, "rows").wait().unwrap();
    });
    let _queryable = answer.wait().unwrap();
    wait_until("an answer", || !answers(to, key).is_empty());
}

/// Returns the keys of all replies to a query.
fn answers(net: &Net, key: &str) -> Vec<String> {
    let replies = net.session().get(key).wait().unwrap();
    replies
        .into_iter()
        .filter_map(|reply| Some(reply.result().ok()?.key_expr().to_string()))
        .collect()
}

#[test]
fn plain_session_connects_in_either_order_and_again_after_a_restart() {
    let endpoint = format!("tcp/127.0.0.1:{}", free_port());
    assert_eq!(cause(&connect(&endpoint)), Cause::Refused);
    let early = open(&peer(&connect(&endpoint)));
    for _ in 0..2 {
        let listener = open(&listen(&endpoint));
        assert_carries(&listener, &early);
        assert_carries(&early, &listener);
        assert_eq!(early.diagnose()[0].cause, Cause::Connected);
    }
}

#[test]
fn tls_session_checks_the_listener() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let port = free_port();
    let endpoint = format!("tls/localhost:{port}");
    let listener = open(&ours.identify(listen(&endpoint), "localhost"));

    let good = open(&trust(&ours, connect(&endpoint)));
    assert_carries(&listener, &good);
    assert_eq!(good.diagnose()[0].cause, Cause::Connected);

    assert_eq!(cause(&trust(&other, connect(&endpoint))), Cause::Untrusted);
    assert_eq!(cause(&connect(&endpoint)), Cause::Untrusted);
    let by_address = format!("tls/127.0.0.1:{port}");
    assert_eq!(cause(&trust(&ours, connect(&by_address))), Cause::WrongName);
}

#[test]
fn expired_certificate_of_the_listener_is_named() {
    let authority = Authority::new("ours");
    let endpoint = format!("tls/localhost:{}", free_port());
    let args = authority.identify_until(listen(&endpoint), "localhost", 2020);
    let _listener = open(&args);
    assert_eq!(cause(&trust(&authority, connect(&endpoint))), Cause::Expired);
}

#[test]
fn mutual_tls_admits_only_certificates_of_the_authority() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let endpoint = format!("tls/localhost:{}", free_port());
    let listener = open(&demanding(&ours, &endpoint));

    let client = trust(&ours, connect(&endpoint));
    let good = open(&ours.identify(client.clone(), "client"));
    assert_carries(&listener, &good);
    assert_eq!(good.diagnose()[0].cause, Cause::Connected);

    assert_eq!(cause(&client), Cause::NeedsCertificate);
    let foreign = other.identify(client.clone(), "client");
    assert_eq!(cause(&foreign), Cause::CertificateRefused);
    let expired = ours.identify_until(client, "client", 2020);
    assert_eq!(cause(&expired), Cause::CertificateRefused);
}

#[test]
fn listener_without_mtls_accepts_clients_without_certificates() {
    let authority = Authority::new("ours");
    let endpoint = format!("tls/localhost:{}", free_port());
    let elsewhere = format!("tls/localhost:{}", free_port());
    // This side has a certificate for both directions, and demands none.
    let args = Args { connect: vec![elsewhere.clone()], ..listen(&endpoint) };
    let both = open(&authority.identify(trust(&authority, args), "localhost"));
    let demanding = open(&demanding(&authority, &elsewhere));
    let client = open(&trust(&authority, connect(&endpoint)));
    assert_carries(&both, &client);
    assert_carries(&both, &demanding);
}

#[test]
fn plain_and_tls_are_told_apart() {
    let authority = Authority::new("ours");
    let (plain, tls, mutual) = (free_port(), free_port(), free_port());
    let args = listen(&format!("tcp/localhost:{plain}"));
    let _plain = open(&args);
    let args = authority.identify(listen(&format!("tls/localhost:{tls}")), "localhost");
    let _tls = open(&args);
    let _mutual = open(&demanding(&authority, &format!("tls/localhost:{mutual}")));

    for port in [tls, mutual] {
        let args = connect(&format!("tcp/localhost:{port}"));
        assert_eq!(cause(&args), Cause::ExpectsTls);
        let (_, text) = refusal(&args);
        assert!(text.contains(&format!("use tls/localhost:{port}")), "{text}");
    }
    let args = trust(&authority, connect(&format!("tls/localhost:{plain}")));
    assert_eq!(cause(&args), Cause::ExpectsPlain);
}

#[test]
fn unknown_name_and_silent_port_are_named() {
    assert!(matches!(cause(&connect("tcp/nowhere.invalid:7447")), Cause::Unresolved(_)));
    // The kernel accepts connections to a listener that never takes one.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for protocol in ["tcp", "tls"] {
        let endpoint = format!("{protocol}/{}", silent.local_addr().unwrap());
        assert_eq!(cause(&connect(&endpoint)), Cause::Silent, "{endpoint}");
    }
}

#[test]
fn each_endpoint_has_a_diagnosis() {
    let (here, nowhere) = (free_port(), free_port());
    let endpoints = [here, nowhere].map(|port| format!("tcp/127.0.0.1:{port}"));
    let _listener = open(&listen(&endpoints[0]));
    let net = open(&Args { connect: endpoints.to_vec(), ..Args::default() });
    let found: Vec<_> =
        net.diagnose().into_iter().map(|each| (each.endpoint, each.cause)).collect();
    let [here, nowhere] = endpoints;
    assert_eq!(found, [(here, Cause::Connected), (nowhere, Cause::Refused)]);
}

#[test]
fn port_in_use_is_an_error() {
    let authority = Authority::new("ours");
    let port = free_port();
    let _first = open(&listen(&format!("tcp/127.0.0.1:{port}")));
    for protocol in ["tcp", "tls"] {
        let endpoint = format!("{protocol}/127.0.0.1:{port}");
        let (code, message) = refusal(&authority.identify(listen(&endpoint), "localhost"));
        assert_eq!(code, 1);
        let expected = format!("cannot listen: {endpoint}: another program uses this port");
        assert!(message.starts_with(&expected), "{message}");
    }
}

#[test]
fn address_of_another_host_is_an_error() {
    let (code, message) = refusal(&listen("tcp/192.0.2.1:7447"));
    assert_eq!(code, 1);
    assert!(message.starts_with("cannot listen: tcp/192.0.2.1:7447: Cannot assign"), "{message}");
}

#[test]
fn client_opens_when_the_listener_starts_and_connects_again_after_a_restart() {
    let endpoint = format!("tcp/127.0.0.1:{}", free_port());
    let mut listener = None;
    let client = Net::open(&connect(&endpoint), |causes| {
        assert_eq!(causes[0].cause, Cause::Refused);
        listener = Some(open(&listen(&endpoint)));
        true
    });
    let client = client.unwrap();
    assert_carries(listener.as_ref().unwrap(), &client);
    drop(listener);
    let listener = open(&listen(&endpoint));
    assert_carries(&client, &listener);
}

#[test]
fn listener_carries_between_clients() {
    let endpoint = format!("tcp/127.0.0.1:{}", free_port());
    let _listener = open(&listen(&endpoint));
    let clients = [(); 2].map(|()| open(&connect(&endpoint)));
    assert_carries(&clients[0], &clients[1]);
}

#[test]
fn router_carries_between_clients_and_to_a_peer() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("router.json5");
    std::fs::write(&config, "{ mode: 'router' }").unwrap();
    let endpoint = format!("tcp/127.0.0.1:{}", free_port());
    let router = Args { config: Some(config), ..listen(&endpoint) };
    let first = open(&router);
    let clients = [(); 2].map(|()| open(&connect(&endpoint)));
    let peer = open(&peer(&connect(&endpoint)));
    assert_carries(&clients[0], &clients[1]);
    drop(first);
    let _second = open(&router);
    assert_carries(&clients[1], &clients[0]);
    assert_carries(&clients[1], &peer);
    assert_carries(&peer, &clients[1]);
    assert_eq!(clients[0].diagnose()[0].cause, Cause::Connected);
    assert_eq!(peer.diagnose()[0].cause, Cause::PeerOfRouter);
}

#[test]
fn wrong_arguments_are_refused() {
    let cases: [(&[&str], &str); 9] = [
        (&["--listen", "udp/127.0.0.1:1"], "tcp or tls"),
        (&["--listen", "127.0.0.1"], "HOST:PORT"),
        (&["--listen", "127.0.0.1:0"], "1 to 65535"),
        (&["--connect", "tcp/host:65536"], "1 to 65535"),
        (&["--connect", "::1:7447"], "brackets"),
        (&["--connect", ":7447"], "HOST:PORT"),
        (&["--connect", "tcp/host#iface=lo:1"], "HOST:PORT"),
        (&["--connect", "a:1", "--tls-cert", "x"], "--tls-key"),
        (&["--connect", "a:1", "--tls-key", "x"], "--tls-cert"),
    ];
    for (words, expected) in cases {
        let error = Line::try_parse_from([&["bridge"], words].concat()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(expected), "{words:?}: {error}");
    }
    let line = Line::try_parse_from(["bridge", "--connect", "a:1,tls/b:2", "--connect", "[::1]:3"]);
    assert_eq!(line.unwrap().args.connect, ["tcp/a:1", "tls/b:2", "tcp/[::1]:3"]);
}

#[test]
fn options_that_can_never_connect_are_refused() {
    let authority = Authority::new("ours");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| -> Option<PathBuf> {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    let tls = format!("tls/localhost:{}", free_port());
    let no_certificate = listen(&tls);
    let no_authority = Args { mtls: true, ..authority.identify(listen(&tls), "localhost") };
    let plain_mtls = Args { mtls: true, ..listen("tcp/localhost:1") };
    let no_own = Args { mtls: true, ..trust(&authority, connect(&tls)) };
    let absent = Args { tls_ca: Some(folder.path().join("absent")), ..connect(&tls) };
    let not_pem = Args { tls_ca: file("empty", ""), ..connect(&tls) };
    let udp = "{ listen: { endpoints: ['udp/127.0.0.1:7447'] } }";
    let udp = Args { config: file("udp.json5", udp), ..Args::default() };
    let bad_config = Args { config: file("bad.json5", "{ mode: 3 }"), ..connect(&tls) };
    for (args, code, expected) in [
        (Args::default(), 2, "no address of another host"),
        (no_certificate, 2, "use --tls-cert and --tls-key"),
        (no_authority, 2, "use --tls-ca"),
        (plain_mtls, 2, "--mtls needs tls/"),
        (no_own, 2, "certificate of this side"),
        (connect("tls/[::1]:7447"), 2, "use a host name"),
        (udp, 2, "unknown protocol: udp/127.0.0.1:7447"),
        (absent, 5, "cannot read: "),
        (not_pem, 5, "no certificate in PEM format: "),
        (bad_config, 5, "bad configuration: "),
    ] {
        let (found, message) = refusal(&args);
        assert!(message.contains(expected), "{message}");
        assert_eq!(found, code, "{message}");
    }
}

#[test]
fn access_control_by_key_carries_only_the_allowed_table() {
    let authority = Authority::new("ours");
    let endpoint = format!("tls/localhost:{}", free_port());
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/bridge-access.json5");
    let config = Some(PathBuf::from(example));
    let exporter = open(&Args { config, ..demanding(&authority, &endpoint) });
    let client = trust(&authority, connect(&endpoint));
    let stranger = authority.identify(client.clone(), "stranger.example");
    let stranger = open(&stranger);
    let client = authority.identify(client, "reader.example");
    let reader = open(&client);

    let tables = ["prices", "salaries"];
    let session = exporter.session();
    let offers = tables.map(|table| {
        let key = format!("tablecast/a/{table}/changes/0");
        let reply = key.clone();
        let answer = session.declare_queryable(key).callback(move |query| {
            query.reply(reply.as_str(), "rows").wait().unwrap();
        });
        let token = session.liveliness().declare_token(format!("tablecast/a/{table}/alive/0"));
        (answer.wait().unwrap(), token.wait().unwrap())
    });

    let heads = |net: &Net, table: &str| {
        let key = format!("tablecast/*/{table}/head/*");
        net.session().declare_subscriber(key).wait().unwrap()
    };
    let subscribers = tables.map(|table| heads(&reader, table));
    let denied = tables.map(|table| heads(&stranger, table));
    let injected = heads(&exporter, "prices");

    let prices = "tablecast/a/prices/changes/0";
    wait_until("the allowed table", || answers(&reader, prices) == [prices]);
    wait_until("the allowed head", || {
        for table in tables {
            session.put(format!("tablecast/a/{table}/head/0"), "head").wait().unwrap();
        }
        subscribers[0].try_recv().unwrap().is_some()
    });
    assert!(subscribers[1].try_recv().unwrap().is_none(), "a head of the denied table");
    assert!(answers(&reader, "tablecast/a/salaries/changes/0").is_empty());
    assert!(answers(&stranger, prices).is_empty());
    for subscriber in denied {
        assert!(subscriber.try_recv().unwrap().is_none(), "a head for a stranger");
    }

    let alive = |net: &Net| -> Vec<String> {
        let replies = net.session().liveliness().get("tablecast/*/*/alive/*").wait().unwrap();
        let tokens = replies.into_iter().filter_map(|reply| reply.into_result().ok());
        tokens.map(|token| token.key_expr().to_string()).collect()
    };
    assert_eq!(alive(&reader), ["tablecast/a/prices/alive/0"]);
    assert!(alive(&stranger).is_empty());
    assert_eq!(stranger.diagnose()[0].cause, Cause::Connected);

    // A client sends its puts even if it knows of no subscriber. The answer to a later query
    // proves that the listener has handled them.
    reader.session().put("tablecast/a/prices/head/0", "forged").wait().unwrap();
    let token = reader.session().liveliness().declare_token("tablecast/a/prices/alive/1");
    let _token = token.wait().unwrap();
    wait_until("an answer", || answers(&reader, prices) == [prices]);
    while let Some(head) = injected.try_recv().unwrap() {
        assert_eq!(head.payload().to_bytes().as_ref(), b"head");
    }
    let own: Vec<_> = tables.map(|table| format!("tablecast/a/{table}/alive/0")).into();
    let mut found = alive(&exporter);
    found.sort();
    assert_eq!(found, own);
    drop(offers);
}

/// Runs the test `name` of this file in a separate process, where it is not ignored.
fn in_process(name: &str, verbose: u8) -> Output {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command.args(["--exact", name, "--ignored", "--nocapture"]).env_remove("RUST_LOG");
    command.env("VERBOSE", verbose.to_string()).output().unwrap()
}

/// The sockets of a process that connects, then of one that listens.
#[test]
#[ignore = "runs in a separate process"]
fn role_sockets() {
    assert_eq!(open_sockets(), [""; 0]);
    let port = free_port();
    let endpoints = [(); 2].map(|()| format!("tcp/127.0.0.1:{}", free_port()));
    let _peer = open(&Args { connect: endpoints.to_vec(), ..Args::default() });
    assert_eq!(open_sockets(), [""; 0], "a peer that only connects must not listen");
    let endpoint = format!("tcp/127.0.0.1:{port}");
    let _listener = open(&listen(&endpoint));
    let _client = open(&connect(&endpoint));
    assert_eq!(open_sockets(), [format!("tcp 0100007F:{port:04X}")]);
}

#[test]
fn nothing_listens_unless_told() {
    let output = in_process("role_sockets", 0);
    assert!(output.status.success(), "{output:?}");
}

/// Sessions that cannot connect, with the logs of the program.
#[test]
#[ignore = "runs in a separate process"]
fn role_logs() {
    let verbose = std::env::var("VERBOSE").unwrap().parse().unwrap();
    cli::Global { verbose, color: clap::ColorChoice::Never }.apply();
    let authority = Authority::new("ours");
    let (absent, port) = (free_port(), free_port());
    let tls = format!("tls/localhost:{port}");
    let _listener = open(&demanding(&authority, &tls));
    let plain = [absent, port].map(|port| format!("tcp/127.0.0.1:{port}"));
    let _peer = open(&Args { connect: plain.to_vec(), ..Args::default() });
    refusal(&connect(&plain[1]));
    refusal(&connect(&tls));
    refusal(&trust(&authority, connect(&tls)));
    refusal(&listen("tcp/192.0.2.1:7447"));
}

#[test]
fn warnings_of_zenoh_need_verbose_and_plain_text_off_host_warns_always() {
    for verbose in [0, 1] {
        let output = in_process("role_logs", verbose);
        assert!(output.status.success(), "{output:?}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(errors.contains("Scouting delay"), verbose > 0, "{errors}");
        assert_eq!(errors.matches("warning: tcp/192.0.2.1:7447: without TLS").count(), 1);
        assert!(!errors.contains("warning: tcp/127."), "{errors}");
        assert!(verbose > 0 || errors.lines().count() == 1, "{errors}");
    }
}
