//! The sessions that are open, each in a numbered place that is used again.

use super::session::Session;
use super::token::{GENERATION_MASK, SessionId};

#[derive(Debug, Default)]
struct Place {
    generation: u32,
    session: Option<Session>,
}

/// All open sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    places: Vec<Place>,
    free: Vec<u32>,
}

impl Sessions {
    /// Puts a session into a free place.
    pub fn insert(&mut self, session: Session) -> SessionId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            self.places.len() as u32 - 1
        });
        let place = &mut self.places[slot as usize];
        place.session = Some(session);
        SessionId {
            slot,
            generation: place.generation,
        }
    }

    /// The session, if it is still open.
    pub fn get(&mut self, id: SessionId) -> Option<&mut Session> {
        let place = self.places.get_mut(id.slot as usize)?;
        place
            .session
            .as_mut()
            .filter(|_| place.generation == id.generation)
    }

    /// Takes the session out.
    pub fn remove(&mut self, id: SessionId) -> Option<Session> {
        self.get(id)?;
        let place = &mut self.places[id.slot as usize];
        place.generation = (place.generation + 1) & GENERATION_MASK;
        self.free.push(id.slot);
        place.session.take()
    }

    /// All that are open.
    pub fn ids(&self) -> Vec<SessionId> {
        let id = |(slot, place): (usize, &Place)| {
            place.session.as_ref().map(|_| SessionId {
                slot: slot as u32,
                generation: place.generation,
            })
        };
        self.places.iter().enumerate().filter_map(id).collect()
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket;

    fn session() -> Session {
        Session::new(socket::pair().unwrap().0)
    }

    #[test]
    fn an_id_does_not_outlive_its_session() {
        let mut sessions = Sessions::default();
        let first = sessions.insert(session());
        assert!(sessions.get(first).is_some());
        assert!(sessions.remove(first).is_some());
        let second = sessions.insert(session());
        assert_eq!(
            (first.slot, sessions.len()),
            (second.slot, 1),
            "the place is used again"
        );
        assert!(sessions.get(first).is_none());
        assert!(sessions.remove(first).is_none());
        assert!(sessions.get(second).is_some());
    }

    #[test]
    fn only_open_sessions_are_listed() {
        let mut sessions = Sessions::default();
        let ids: Vec<_> = (0..3).map(|_| sessions.insert(session())).collect();
        sessions.remove(ids[1]);
        assert_eq!(sessions.ids(), [ids[0], ids[2]]);
        let again = sessions.insert(session());
        assert_eq!(sessions.ids(), [ids[0], again, ids[2]]);
    }
}
