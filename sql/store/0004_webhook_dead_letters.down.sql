DROP TABLE IF EXISTS pgstream.webhook_dead_letters;
