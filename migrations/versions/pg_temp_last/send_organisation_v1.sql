-- Generated from templates/send_organisation_v1.sql by `make sql`; change the template, not this file.
--
-- Returns the organisation that a send belongs to, or null if there is no such send.
--
-- Called by: store/sends.py, in the API and the worker. It runs as its owner, past row-level security: a public link
-- carries nothing but a signed send id, and this is how its request finds the organisation whose rows it may see.
-- The search path of the function: its own schema, and last the caller's temporary objects. If pg_temp is not named,
-- PostgreSQL looks for tables and types there first, and the function would run a caller's view as its owner.
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);
CREATE OR REPLACE FUNCTION marketing_send_organisation_v1(send_id uuid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
AS $$
    SELECT org_id FROM marketing_sends WHERE id = send_id
$$;

REVOKE ALL ON FUNCTION marketing_send_organisation_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION marketing_send_organisation_v1 TO marketing_api, marketing_worker;
