"""What the HTTP gate records is what a replay tells: the two are held to each other here."""

from weirgate_contracts.recording import Frame
from weirgate_ingress.gates.core import Ask, Found, LookUp, Record, Tape, Withdraw
from weirgate_recorder.reading import Reading
from weirgate_recorder.scene import Answered, Body, Called, Scene
from weirgate_testkit.http_story import HttpStory

OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{"id":7}'
NOTHING = b"HTTP/1.1 204 No Content\r\n\r\n"


def replayed(story: HttpStory) -> list[Scene]:
    tapes = [effect for effect in story.all if isinstance(effect, Tape)]
    reading = Reading("http")
    scenes = [
        scene
        for at_us, tape in enumerate(tapes, 1)
        for scene in reading.feed(
            Frame(direction=tape.direction, operation=tape.operation, at_us=at_us, body=tape.data)
        )
    ]
    return [*scenes, *reading.finish()]


def test_calls_bodies_refusals_and_answers_of_the_gate_are_told() -> None:
    body = b'{"customer": 7}'
    one = HttpStory().request().known().expect(Ask).sent_on().upstream_sends(OK).says()
    one.left.clear()
    one.request("POST", "/crm/v1/orders", body=body, content_type="application/json").expect(Ask)
    one.sent_on(body=body, dials=False).upstream_sends(NOTHING).says()
    one.left.clear()
    one.request("DELETE", "/crm/v1/customers/7").expect(Ask).refused(rules=("p/1",)).says()
    one.left.clear()
    scenes = replayed(one)
    assert [type(scene).__name__ for scene in scenes] == [
        "Called", "Answered", "Body", "Called", "Body", "Answered", "Answered", "Body",
    ]  # fmt: skip
    first, second = (scene for scene in scenes if isinstance(scene, Called))
    assert (first.method, first.target, first.operation) == ("GET", "/v1/customers/7", 1)
    assert (second.method, second.target, second.operation) == ("POST", "/v1/orders", 2)
    assert [scene.status for scene in scenes if isinstance(scene, Answered)] == [200, 204, 403]
    bodies = [scene for scene in scenes if isinstance(scene, Body)]
    assert [(each.direction, each.text) for each in bodies[:2]] == [
        ("out", '{"id":7}'),
        ("in", body.decode()),
    ]
    assert all(each.whole for each in bodies)
    assert bodies[2].type == "application/problem+json"


def test_a_202_and_a_look_at_its_request_are_told() -> None:
    one = HttpStory().request("DELETE", prefer="respond-async").known().expect(Ask).held()
    one.expect(Withdraw).expect(Record).says()
    place = "/.well-known/weirgate/crm/requests/01J00000000000000000000001"
    one.request("GET", place).expect(Tape, "i").expect(LookUp)
    one.feed(Found(request="01J00000000000000000000001", state="granted")).says()
    scenes = replayed(one)
    assert [scene.status for scene in scenes if isinstance(scene, Answered)] == [202, 200]
    (look,) = (scene for scene in scenes if isinstance(scene, Called))
    assert (look.method, look.target, look.operation) == ("GET", place, 2)
    assert '"granted"' in str([scene.text for scene in scenes if isinstance(scene, Body)][-1])
