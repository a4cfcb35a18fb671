// Written by `relata types --ts` from the daemon's schema.

export interface Helpdesk<Integer = number, Datetime = Date> {
    team: {
        record: {
            id: Integer;
            name: string;
        };
        create: {
            id: Integer;
            name: string;
        };
        primaryKey: "id";
        key: Integer;
        relationships: {
            representatives: { destination: "representative"; many: true };
            open_tickets: { destination: "ticket"; many: true };
        };
    };
    representative: {
        record: {
            id: Integer;
            name: string;
            email: string | null;
            team_id: Integer | null;
            priority_threshold: Integer | null;
        };
        create: {
            id: Integer;
            name: string;
            email?: string | null;
            team_id?: Integer | null;
            priority_threshold?: Integer | null;
        };
        primaryKey: "id";
        key: Integer;
        relationships: {
            team: { destination: "team"; many: false };
            tickets: { destination: "ticket"; many: true };
            latest_ticket: { destination: "ticket"; many: false };
            open_tickets: { destination: "ticket"; many: true };
            skills: { destination: "skill"; many: true };
            tickets_above_threshold: { destination: "ticket"; many: true };
        };
    };
    ticket: {
        record: {
            id: Integer;
            subject: string;
            status: "open" | "waiting" | "closed" | null;
            priority: Integer | null;
            representative_id: Integer | null;
            created_at: Datetime | null;
            details: any | null;
        };
        create: {
            id: Integer;
            subject: string;
            status?: "open" | "waiting" | "closed" | null;
            priority?: Integer | null;
            representative_id?: Integer | null;
            created_at?: Datetime | null;
            details?: any | null;
        };
        primaryKey: "id";
        key: Integer;
        relationships: {
            representative: { destination: "representative"; many: false };
        };
    };
    skill: {
        record: {
            id: Integer;
            name: string;
        };
        create: {
            id: Integer;
            name: string;
        };
        primaryKey: "id";
        key: Integer;
        relationships: {
            representatives: { destination: "representative"; many: true };
        };
    };
    representative_skill: {
        record: {
            representative_id: Integer;
            skill_id: Integer;
            level: Integer | null;
        };
        create: {
            representative_id: Integer;
            skill_id: Integer;
            level?: Integer | null;
        };
        primaryKey: "representative_id" | "skill_id";
        key: [Integer, Integer];
        relationships: {
            representative: { destination: "representative"; many: false };
            skill: { destination: "skill"; many: false };
        };
    };
}
