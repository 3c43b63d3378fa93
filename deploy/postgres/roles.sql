-- The database `marketing`, its owner, and one log-in for the API and one for the workers and the listener, as in
-- docs/operating.md#database-roles. Run it with psql as a superuser or as a user with CREATEROLE and CREATEDB. The
-- passwords are in the environment variables OWNER_PASSWORD, API_PASSWORD and WORKER_PASSWORD.
\set ON_ERROR_STOP on
\getenv owner_password OWNER_PASSWORD
\getenv api_password API_PASSWORD
\getenv worker_password WORKER_PASSWORD

CREATE ROLE marketing_owner LOGIN PASSWORD :'owner_password';
GRANT marketing_owner TO CURRENT_USER;
CREATE DATABASE marketing OWNER marketing_owner;

-- The two roles that the processes take. They exist before `migrate`, so the owner needs no CREATEROLE.
CREATE ROLE marketing_api NOLOGIN;
CREATE ROLE marketing_worker NOLOGIN;

CREATE ROLE marketing_api_login LOGIN PASSWORD :'api_password';
CREATE ROLE marketing_worker_login LOGIN PASSWORD :'worker_password';
GRANT marketing_api TO marketing_api_login;
GRANT marketing_worker TO marketing_worker_login;
