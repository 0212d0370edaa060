"""
The room for people: HTML pages, who is looking at them, and how they log in.

A page of the site is a Litestar handler in a router of `pages.build_router`, which does for every page of it what no
page may forget:

- It knows who is there. A handler that takes `person: Known` is for people who are logged in: others are sent to
  `/login?next=…` where they asked for a page, and refused with 401 where a script asked. One that takes
  `visitor: Visitor` is for everybody, and has None for those whom nobody knows.
- Every form is checked before its handler runs: it comes from a page of this site (`forms.py` says why that holds), and
  carries the person's form token. In a template: `{{ form_token(person) }}` inside the `<form method="post">`.
- Every answer has the headers that `headers.py` explains. Scripts and styles are files in `static/`, linked with
  `{{ static("name.css") }}`; nothing inline runs.

    @get("/sources")
    async def sources(person: Known) -> Html:
        return pages.show("sources.html", person, sources=registry.list_sources(person.profile.id))

Templates stand in `templates/` and extend `layout.html`. All text is escaped, and a missing variable is an error. What
strangers wrote is shown through `|plain` (`words.py`), in a `<bdi>`.
"""
