use super::*;
use crate::clock::UnixMs;
use crate::resp::{Protocol, Reply};
use crate::server::clients::{Client, Clients, Origin};

fn client(clients: &Clients) -> Arc<Client> {
    let origin = Origin {
        address: String::new(),
        local_address: String::new(),
        fd: 0,
        unix: false,
    };
    clients.add(origin, UnixMs(0))
}

/// Two publishers, two subscribers on threads of their own: without one order for all each would see another.
#[test]
fn all_subscribers_see_messages_in_one_order() {
    const MESSAGES: usize = crate::testing::rounds(5_000);
    let (pubsub, clients) = (PubSub::new(2), Clients::default());
    let name: Name = b"c"[..].into();
    let pattern: Name = b"*"[..].into();
    let names = [(Kind::Channel, &name), (Kind::Pattern, &pattern)];
    let subscribers = names.map(|(kind, name)| {
        let subscriber = Arc::new(Subscriber::new(client(&clients)));
        pubsub.subscribe(kind, name, ThreadSlot(kind as usize), &subscriber);
        subscriber
    });
    std::thread::scope(|scope| {
        for publisher in 0..2 {
            let pubsub = &pubsub;
            scope.spawn(move || {
                for number in 0..MESSAGES {
                    let message = format!("{publisher}:{number}");
                    let message = Payload::new(message.as_bytes(), None);
                    assert_eq!(
                        pubsub.publish(ThreadSlot(publisher), Kind::Channel, b"c", &message),
                        2
                    );
                    pubsub.hand_out(ThreadSlot(publisher), 0);
                }
            });
        }
    });
    let seen = subscribers.map(|subscriber| {
        for thread in 0..2 {
            pubsub.hand_out(ThreadSlot(thread), 0);
        }
        let mut reply = Reply::new(Protocol::Resp2);
        subscriber.read(&mut reply);
        let text = String::from_utf8(reply.take_joined()).unwrap();
        let texts = text.lines().filter(|line| line.contains(':'));
        texts.map(str::to_owned).collect::<Vec<_>>()
    });
    assert_eq!(seen[0].len(), 2 * MESSAGES);
    assert!(seen[0] == seen[1]);
    for (client, (kind, name)) in clients.all().iter().zip(names) {
        pubsub.unsubscribe(kind, name, ThreadSlot(kind as usize), client.id);
    }
    assert_eq!(pubsub.names.load(Ordering::Relaxed), 0);
    assert_eq!(
        pubsub.publish(ThreadSlot(0), Kind::Channel, b"c", &Payload::Short(b"x")),
        0
    );
}
