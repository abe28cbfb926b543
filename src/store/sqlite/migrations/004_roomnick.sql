-- The name under which somebody takes part in a room that is a node (XEP-0207, section 5); NULL: none.
ALTER TABLE subscriptions ADD COLUMN roomnick TEXT;

CREATE UNIQUE INDEX subscriptions_roomnick ON subscriptions (node, roomnick) WHERE roomnick IS NOT NULL;
