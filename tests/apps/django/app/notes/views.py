from django.http import HttpRequest, HttpResponse
from notes.models import Note


def notes(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        Note.objects.create(text=request.POST["text"])
    return HttpResponse(f"Notes: {', '.join(note.text for note in Note.objects.all())}")
