//! Plays a script to greenroom's pool.

use tokio::time::{Duration, sleep_until};

use super::clock::settle;
use super::diary::Entry;
use super::house::{Asking, House, Lent, Plan};
use super::script::{Script, Turn};

/// What a client does.
enum Client {
    Nothing,
    Waits(Asking),
    Has(Lent),
}

/// What happens.
pub(super) fn play(script: &Script) -> Vec<Entry> {
    let limits = serde_json::to_string(&script.options).expect("numbers and flags");
    let mut entries = Plan::new(limits).logins(script.logins.clone()).entries(async |house| {
        let began = house.diary.began;
        let mut clients: Vec<Client> = Vec::new();
        for turn in &script.turns {
            sleep_until(began + Duration::from_millis(turn.at)).await;
            settle().await;
            if clients.len() <= turn.client {
                clients.resize_with(turn.client + 1, || Client::Nothing);
            }
            for client in &mut clients {
                served(client).await;
            }
            take_turn(house, &mut clients, turn).await;
        }
        sleep_until(began + Duration::from_millis(script.ends)).await;
    });
    entries.retain(|Entry(at, _)| *at < script.ends);
    entries
}

/// Finds out whether a client's wait is over.
async fn served(client: &mut Client) {
    if let Client::Waits(asking) = client
        && asking.is_finished()
    {
        *client = asking.await.expect("nothing panics").map_or(Client::Nothing, Client::Has);
    }
}

async fn take_turn(house: &House, clients: &mut [Client], turn: &Turn) {
    let somebody_waits = clients.iter().any(|client| matches!(client, Client::Waits(_)));
    let client = &mut clients[turn.client];
    *client = match std::mem::replace(client, Client::Nothing) {
        Client::Nothing => {
            for server in house.diary.idle().into_iter().rev().take(turn.dead) {
                house.postgres.kill(server);
            }
            settle().await;
            Client::Waits(house.ask(turn.client).await)
        }
        Client::Has(lent) => {
            if turn.dead > 0 && somebody_waits {
                house.postgres.kill(lent.server);
                settle().await;
            }
            lent.give_back();
            Client::Nothing
        }
        Client::Waits(asking) if turn.leaves => {
            house.give_up(turn.client, asking).await;
            Client::Nothing
        }
        waits => waits,
    };
    settle().await;
}
