// The worker moves votes from Redis to PostgreSQL.
package main

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"strconv"
	"strings"
	"time"

	_ "github.com/lib/pq"
)

type vote struct {
	VoterID string `json:"voter_id"`
	Vote    string `json:"vote"`
}

// pop waits for the next element of the list "votes".
func pop(connection net.Conn, reader *bufio.Reader) (string, error) {
	if _, err := fmt.Fprint(connection, "BLPOP votes 0\r\n"); err != nil {
		return "", err
	}
	var last string
	header, err := reader.ReadString('\n')
	if err != nil {
		return "", err
	}
	count, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(header, "*")))
	if err != nil {
		return "", fmt.Errorf("redis says %q", header)
	}
	for ; count > 0; count-- {
		line, err := reader.ReadString('\n')
		if err != nil {
			return "", err
		}
		length, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "$")))
		if err != nil {
			return "", err
		}
		data := make([]byte, length+2)
		if _, err := io.ReadFull(reader, data); err != nil {
			return "", err
		}
		last = string(data[:length])
	}
	return last, nil
}

func main() {
	db, err := sql.Open("postgres", "host=db user=postgres password=postgres sslmode=disable")
	if err != nil {
		log.Fatal(err)
	}
	for {
		_, err := db.Exec("CREATE TABLE IF NOT EXISTS votes (id VARCHAR(255) PRIMARY KEY, vote VARCHAR(255) NOT NULL)")
		if err == nil {
			break
		}
		log.Print("waiting for the database: ", err)
		time.Sleep(time.Second)
	}
	connection, err := net.Dial("tcp", "redis:6379")
	if err != nil {
		log.Fatal(err)
	}
	reader := bufio.NewReader(connection)
	for {
		text, err := pop(connection, reader)
		if err != nil {
			log.Fatal(err)
		}
		var found vote
		if err := json.Unmarshal([]byte(text), &found); err != nil {
			log.Fatal(err)
		}
		if _, err := db.Exec("INSERT INTO votes VALUES ($1, $2)", found.VoterID, found.Vote); err != nil {
			log.Fatal(err)
		}
		log.Printf("processed a vote for %q", found.Vote)
	}
}
