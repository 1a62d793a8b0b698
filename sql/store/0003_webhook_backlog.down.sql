DROP TABLE IF EXISTS pgstream.webhook_backlog;
DROP TABLE IF EXISTS pgstream.webhook_backlog_marks;
